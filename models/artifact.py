"""Backbone and segmenter files: safetensors with a JSON header. Nothing that is loaded can run code.

The safetensors metadata of a file holds one key, ``stego``, whose value is a JSON object with at least
``kind`` ("backbone" or "segmenter"), ``version`` (of the layout) and ``sha256`` (of the tensors, so that a
damaged or altered file is refused before it is used).
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from models.errors import StegoError
from models.tensor_file import write_tensors

LAYOUT_VERSION = 1


class ArtifactError(StegoError):
    """A backbone or segmenter file that is missing, damaged, altered, or of another kind."""


def tensors_digest(tensors: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 (hex) over names, shapes, types and bytes of ``tensors``, in the order of their names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}|{tuple(tensor.shape)}|{tensor.dtype}|".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def header_digest(header: Mapping[str, Any]) -> str:
    """SHA-256 (hex) of a header's own fields, apart from the digests themselves."""
    fields = {name: value for name, value in header.items() if name not in {"sha256", "header_sha256"}}
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


def write_artifact(path: Path, kind: str, tensors: Mapping[str, torch.Tensor], header: Mapping[str, Any]) -> None:
    """Write ``tensors`` and a JSON ``header`` to ``path`` atomically (a temporary file beside it, then a rename).

    A file that is there keeps its permissions, and a symbolic link goes on leading to the file it led to.

    Raises:
        ArtifactError: the folder cannot be written (missing permission, disk full).
    """
    contiguous = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    meta = {**header, "kind": kind, "version": LAYOUT_VERSION, "sha256": tensors_digest(contiguous)}
    meta["header_sha256"] = header_digest(json.loads(json.dumps(meta)))
    target = Path(os.path.realpath(path))
    # Without the file's own name, which may be as long as the file system allows.
    temporary = target.with_name(f".{os.getpid()}-{secrets.token_hex(8)}.stego-part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_tensors(temporary, contiguous, {"stego": json.dumps(meta)})
        if target.is_file():
            shutil.copymode(target, temporary)
        os.replace(temporary, target)
    except (OSError, SafetensorError) as error:
        raise ArtifactError(f"{path}: cannot write the {kind} file: {error}") from error
    finally:
        with suppress(OSError):  # also after Ctrl-C; once it has its place, there is nothing to remove
            temporary.unlink()


def is_artifact(path: Path, kind: str) -> bool:
    """Whether ``path`` is a whole file of ours of this ``kind``; only its header is read."""
    try:
        return path.is_file() and read_header(path).get("kind") == kind
    except ArtifactError:
        return False


def read_header(path: Path) -> dict[str, Any]:
    """The JSON header of an artefact, without reading its tensors.

    Raises:
        ArtifactError: the file is missing, not a safetensors file, or carries no header of ours.
    """
    if path.is_dir():
        raise ArtifactError(f"{path}: is a folder; expected a model file")
    if not path.is_file():
        raise ArtifactError(f"{path}: no such model file")
    if path.suffix.lower() in (".onnx", ".xml"):
        raise ArtifactError(f"{path}: an exported graph, for programs without stego; give the file that it was made of, with --runtime onnx or openvino")
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise ArtifactError(f"{path}: not a readable safetensors file ({error})") from error
    try:
        header = json.loads(metadata["stego"])
    except (KeyError, json.JSONDecodeError) as error:
        raise ArtifactError(f"{path}: a safetensors file without a stego header, so neither a backbone nor a segmenter written by stego") from error
    if not isinstance(header, dict) or not isinstance(header.get("kind"), str):
        raise ArtifactError(f"{path}: its header names no kind; expected a backbone or a segmenter file")
    return header


def read_artifact(path: Path, kind: str) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Tensors and header of the artefact at ``path``.

    Args:
        path: the file.
        kind: the kind expected, "backbone" or "segmenter".

    Raises:
        ArtifactError: the file is missing, of another kind or version, or its tensors do not match its checksum.
    """
    header = read_header(path)
    if header["kind"] != kind:
        raise ArtifactError(f"{path}: this is a {header['kind']} file; expected a {kind} file")
    if header.get("version") != LAYOUT_VERSION:
        raise ArtifactError(f"{path}: layout version {header.get('version')}; this release reads version {LAYOUT_VERSION}")
    # Files from before headers had a digest of their own are read too.
    if "header_sha256" in header and header_digest(header) != header["header_sha256"]:
        raise ArtifactError(f"{path}: the header does not match its own checksum; the file was altered or damaged")
    try:
        with safe_open(str(path), framework="pt") as file:
            # Copies: what safetensors gives is mapped from the file, and would change under us if someone wrote over it.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError) as error:
        raise ArtifactError(f"{path}: damaged {kind} file ({error})") from error
    if tensors_digest(tensors) != header.get("sha256"):
        raise ArtifactError(f"{path}: the tensors do not match the checksum in the header; the file was altered or damaged")
    return tensors, header
