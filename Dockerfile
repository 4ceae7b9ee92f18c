# stego on the CPU: the REST service with the browser page, the embedded model inside; no network is needed at run time.
#   docker build -t stego .
#   docker run --rm -p 127.0.0.1:8000:8000 stego

FROM python:3.12-slim AS build
RUN pip install --no-cache-dir uv
WORKDIR /source
COPY . .
# The wheel, and the versions it was tested with.
RUN uv build --wheel --out-dir /dist \
 && python -c 'import tomllib; print("\n".join(tomllib.load(open("pyproject.toml", "rb"))["tool"]["uv"]["constraint-dependencies"]))' > /dist/constraints.txt
# With bytecode: the user below may not write any, and each process that starts would compile torch anew, which more than doubles the time of loading a model.
# torch's CPU wheels: the usual ones bring several GB of CUDA along, but work as well where only the package registry is reached (--build-arg TORCH_BACKEND=).
ARG TORCH_BACKEND=cpu
ARG EXTRAS=redis,onnx
RUN uv venv /opt/stego \
 && uv pip install --python /opt/stego/bin/python --no-cache --compile-bytecode --constraint /dist/constraints.txt \
      ${TORCH_BACKEND:+--torch-backend "$TORCH_BACKEND"} "$(echo /dist/*.whl)[$EXTRAS]"

FROM python:3.12-slim
COPY --from=build /opt/stego /opt/stego
RUN useradd --create-home --uid 10001 stego && install -d -o stego -g stego /data
USER stego
WORKDIR /home/stego
ENV PATH=/opt/stego/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    STEGO_HOME=/data \
    STEGO_CACHE=/data/cache \
    HF_HUB_OFFLINE=1 \
    GRADIO_ANALYTICS_ENABLED=False
VOLUME /data
EXPOSE 8000
# Loading the model takes a few seconds; until then connections are refused.
HEALTHCHECK --start-period=60s --interval=30s --timeout=5s --retries=3 \
  CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/health', timeout=4)"]
# Requests under way get 15 s to end after SIGTERM: `docker stop --time 40`.
STOPSIGNAL SIGTERM
ENTRYPOINT ["stego"]
CMD ["serve", "--host", "0.0.0.0", "--port", "8000"]
