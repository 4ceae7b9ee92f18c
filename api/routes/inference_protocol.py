"""Metadata of server and models in the paths and words of the Open Inference Protocol (KServe's version 2)."""

from __future__ import annotations

from fastapi import APIRouter

from api.catalog import Catalog, UnknownModelError
from api.errors import ApiError
from api.openapi import errors
from api.schemas import ModelReady, OipModel, OipServer, OipTensor
from stego_app import __version__
from ui.contract import SegmenterLike


def inference_protocol_router(catalog: Catalog) -> APIRouter:
    """The routes, bound to the catalog."""
    router = APIRouter(prefix="/v2", tags=["open inference protocol"])

    @router.get("", summary="Describe the server", responses=errors(401, 403, 429))
    async def server_metadata() -> OipServer:
        """Name and version. Images are sent to `/v1/segment`; the protocol's tensor upload is not offered."""
        return OipServer(name="stego", version=__version__, extensions=[])

    @router.get("/models/{name}", summary="Describe a model's tensors", responses=errors(401, 403, 404, 429))
    def model_metadata(name: str) -> OipModel:
        """An RGB image in, a label map with scores out; a size of -1 is any."""
        segmenter = _get(catalog, name)
        return OipModel(
            name=name,
            versions=[str(segmenter.info().get("fingerprint", "1"))],
            platform="stego",
            inputs=[OipTensor(name="image", datatype="UINT8", shape=[-1, -1, 3])],
            outputs=[OipTensor(name="labels", datatype="UINT8", shape=[-1, -1]), OipTensor(name="scores", datatype="FP32", shape=[-1, -1])],
        )

    @router.get("/models/{name}/ready", summary="Is a model ready?", responses=errors(401, 403, 404, 429))
    def model_ready(name: str) -> ModelReady:
        """200 for every model that is offered: they are loaded before the service listens, or before they are listed."""
        _get(catalog, name)
        return ModelReady(name=name, ready=True)

    return router


def _get(catalog: Catalog, name: str) -> SegmenterLike:
    try:
        return catalog.get(name)
    except UnknownModelError as error:
        raise ApiError(404, "unknown_model", str(error), field="name") from error
