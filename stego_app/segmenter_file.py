"""The segmenter file: clusters, tree, edits and settings, with the backbone's weights or the name of the embedded one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from models.artifact import ArtifactError, read_artifact, write_artifact
from models.backbone import Backbone, BackboneSpec, backbone_from_tensors
from models.backbone_sources import DEFAULT, load_backbone
from models.errors import StegoError
from models.quantize import pack_state
from stego_app.clusters import ClusterModel
from stego_app.confidence.agreement import Agreement
from stego_app.edits import Edit, edits_from_json, edits_to_json

_BACKBONE_PREFIX = "backbone."
_CLUSTERS_PREFIX = "clusters."
_AGREEMENT_PREFIX = "agreement."


class SegmenterSettings(BaseModel):
    """How a segmenter looks at an image; stored with it.

    Attributes:
        resolution: the short side, in pixels, to which images are resized for the backbone.
        window: side of the square windows, in pixels, into which larger inputs are cut; 0 for never.
        brighten: dark images first, as those of its training were; false in files made before there was such a thing.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    resolution: int = Field(default=336, ge=28, le=4096)
    window: int = Field(default=0, ge=0, le=4096)
    brighten: bool = False


@dataclass(frozen=True)
class SegmenterModel:
    """Everything in a segmenter file.

    Attributes:
        backbone_name: "default" where the embedded backbone is meant; else the backbone's weights are in the file.
        shares: (F,) share of training patches of each fine cluster.
        edits: the person's changes, in order.
        provenance: data, objective, settings and scores of training, for the record (json).
        agreement: what confidence is told from; None in files made before it existed, or from too few images.
        prototypes: (F, C) mean unit token of each fine cluster, from which classes are named; None in files made before it existed.
    """

    backbone: Backbone
    backbone_name: str
    clusters: ClusterModel
    shares: npt.NDArray[np.float64]
    settings: SegmenterSettings = field(default_factory=SegmenterSettings)
    edits: tuple[Edit, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)
    agreement: Agreement | None = None
    prototypes: npt.NDArray[np.float32] | None = None

    def with_edits(self, edits: tuple[Edit, ...]) -> SegmenterModel:
        """The same model with another list of edits."""
        return replace(self, edits=edits)


def default_segmenter_path() -> Path:
    """The general segmenter inside the package."""
    return Path(str(resources.files("models") / "weights" / "segmenter.safetensors"))


def save_segmenter(path: Path, model: SegmenterModel) -> None:
    """Write ``model`` to ``path`` atomically.

    The embedded backbone is only named, with its fingerprint; any other backbone travels in the file (half
    precision), so that the file works on a machine that has never seen it.
    """
    tensors = {_CLUSTERS_PREFIX + name: tensor for name, tensor in model.clusters.to_tensors().items()}
    tensors["shares"] = torch.from_numpy(np.ascontiguousarray(model.shares, dtype=np.float64))
    if model.prototypes is not None:
        tensors["prototypes"] = torch.from_numpy(np.ascontiguousarray(model.prototypes)).half()
    if model.backbone_name != DEFAULT:
        packed = pack_state(model.backbone.network.state_dict(), "fp16")
        tensors |= {_BACKBONE_PREFIX + name: tensor for name, tensor in packed.items()}
    header = {
        "backbone": asdict(model.backbone.spec),
        "backbone_name": model.backbone_name,
        "backbone_fingerprint": model.backbone.fingerprint,
        "clusters": model.clusters.header(),
        "settings": model.settings.model_dump(),
        "edits": edits_to_json(model.edits),
        "provenance": dict(model.provenance),
    }
    if model.agreement is not None:
        tensors |= {_AGREEMENT_PREFIX + name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in model.agreement.to_arrays().items()}
        header["agreement"] = model.agreement.header()
    write_artifact(path, "segmenter", tensors, header)


def read_segmenter(path: Path) -> SegmenterModel:
    """Load a segmenter file.

    Raises:
        ArtifactError: the file is missing, damaged, altered or of another kind; or it needs another embedded backbone.
        StegoError: an edit in it is not valid.
    """
    tensors, header = read_artifact(path, "segmenter")
    try:
        clusters = ClusterModel.from_tensors(_under(tensors, _CLUSTERS_PREFIX), header["clusters"])
        shares = tensors["shares"].double().numpy()
        _check(clusters, shares)
        settings = SegmenterSettings.model_validate(header["settings"])
        name = str(header["backbone_name"])
        edits = edits_from_json(header.get("edits", []), len(shares))
        provenance = dict(header.get("provenance", {}))
        spec = BackboneSpec.from_header(header)
        agreement = _agreement(tensors, header, len(shares))
        prototypes = _prototypes(tensors, clusters)
    except (KeyError, TypeError, ValueError, ValidationError) as error:
        raise ArtifactError(f"{path}: the segmenter file is not complete ({error})") from error
    except StegoError as error:
        raise ArtifactError(f"{path}: {error}") from error
    if name == DEFAULT:
        backbone = load_backbone(DEFAULT, spec.block)
        if backbone.fingerprint != header.get("backbone_fingerprint"):
            raise ArtifactError(f"{path}: made for another release's embedded backbone; train it again with `stego train`")
    else:
        backbone = backbone_from_tensors(_under(tensors, _BACKBONE_PREFIX), spec, None, origin=str(path))
    return SegmenterModel(backbone, name, clusters, shares, settings, edits, provenance, agreement, prototypes)


def _check(clusters: ClusterModel, shares: npt.NDArray[np.float64]) -> None:
    """That the tree joins every fine cluster once and the numbers are numbers.

    Raises:
        ValueError: says what does not fit.
    """
    leaves = len(clusters.fine)
    if shares.shape != (leaves,) or not np.isfinite(shares).all() or (shares < 0).any():
        raise ValueError(f"shares of shape {shares.shape} for {leaves} fine clusters")
    rows = np.arange(leaves - 1)[:, None]
    nodes = clusters.merges.ravel()
    if (clusters.merges < 0).any() or (clusters.merges >= leaves + rows).any() or len(np.unique(nodes)) != len(nodes):
        raise ValueError("merges do not form a tree")
    if not all(bool(torch.isfinite(tensor).all()) for tensor in clusters.to_tensors().values()):
        raise ValueError("clusters hold values that are not finite")


def _agreement(tensors: Mapping[str, torch.Tensor], header: Mapping[str, Any], leaves: int) -> Agreement | None:
    """The table of agreement; None where the file has none.

    Raises:
        StegoError, KeyError, ValueError: it has a part of one, or one for other clusters.
    """
    if "agreement" not in header:
        return None
    arrays = {name: tensor.float().numpy() for name, tensor in _under(tensors, _AGREEMENT_PREFIX).items()}
    agreement = Agreement.from_arrays(arrays, header["agreement"])
    if len(agreement.transitions) != leaves:
        raise ValueError(f"a table of agreement of {len(agreement.transitions)} for {leaves} fine clusters")
    return agreement


def _prototypes(tensors: Mapping[str, torch.Tensor], clusters: ClusterModel) -> npt.NDArray[np.float32] | None:
    """The mean tokens of the fine clusters; None where the file has none.

    Raises:
        ValueError: they are not finite, or of other clusters.
    """
    if "prototypes" not in tensors:
        return None
    prototypes: npt.NDArray[np.float32] = tensors["prototypes"].float().numpy()
    if prototypes.shape != (len(clusters.fine), len(clusters.mean)) or not np.isfinite(prototypes).all():
        raise ValueError(f"prototypes of shape {prototypes.shape} for {len(clusters.fine)} fine clusters of {len(clusters.mean)} channels")
    return prototypes


def _under(tensors: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
