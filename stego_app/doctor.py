"""What is installed here, what is missing, and the command that mends it."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import platform
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from models.errors import StegoError

_PACKAGES = ("torch", "torchvision", "timm", "lightning", "scikit-learn", "faiss-cpu", "opencv-python-headless", "fastapi", "gradio", "safetensors", "pydantic")
_IMPORTS = ("torch", "torchvision", "timm", "faiss", "cv2", "gradio")
_REINSTALL = "uv sync --reinstall"
_ENOUGH_DISK = 2_000_000_000


@dataclass(frozen=True)
class Check:
    """One line of the examination. ``needed`` is False for what stego works well without."""

    name: str
    ok: bool
    found: str
    remedy: str = ""
    needed: bool = True


def examine() -> list[Check]:
    """Look at everything that stego uses on this machine. Never raises: on a broken install every look may fail, and that is a finding."""
    looks: list[tuple[str, Callable[[], Check]]] = [
        ("python", _python),
        *((name, partial(_package, name)) for name in _PACKAGES),
        *((f"import {name}", partial(_import, name)) for name in _IMPORTS),
        ("one OpenCV", _opencv),
        ("device", _device),
        ("dense CRF", _crf),
        ("runtimes", _runtimes),
        ("feature cache", _cache),
        ("embedded backbone", _backbone_weights),
        ("embedded segmenter", _segmenter_weights),
    ]
    return [_guarded(name, look) for name, look in looks]


def _guarded(name: str, look: Callable[[], Check]) -> Check:
    try:
        return look()
    except Exception as error:  # whatever it raises is what the user has to see
        return Check(name, False, _in_words(error), _REINSTALL)


def _in_words(error: Exception) -> str:
    """The error in one line."""
    return f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"


def _python() -> Check:
    version = platform.python_version()
    ok = (3, 11) <= tuple(int(part) for part in version.split(".")[:2]) <= (3, 13)
    return Check("python", ok, f"{version} on {platform.system()} {platform.machine()}, {os.cpu_count()} cores", "" if ok else "uv python pin 3.11")


def _package(name: str) -> Check:
    try:
        return Check(name, True, importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return Check(name, False, "not installed", "uv sync")


def _import(name: str) -> Check:
    """Some packages install and then fail to import, e.g. a torchvision built for another torch."""
    try:
        importlib.import_module(name)
    except Exception as error:  # whatever it raises is what the user has to see
        return Check(f"import {name}", False, _in_words(error), _REINSTALL)
    return Check(f"import {name}", True, "works")


def _opencv() -> Check:
    """Two OpenCV wheels write the same folder and break each other."""
    names = {"opencv-python", "opencv-contrib-python", "opencv-python-headless", "opencv-contrib-python-headless"}
    found = sorted(name for dist in importlib.metadata.distributions() if (name := (dist.metadata["Name"] or "").lower()) in names)
    others = [name for name in found if name != "opencv-python-headless"]
    return Check(
        "one OpenCV",
        not others,
        ", ".join(found) or "none",
        f"uv pip uninstall {' '.join(others)}; uv sync --reinstall-package opencv-python-headless" if others else "",
    )


def _device() -> Check:
    from stego_app.features.extract import device_of, precision_of

    device = device_of("auto")
    import torch

    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} threads"
    return Check("device", True, f"{device.type} ({name}), precision {precision_of('auto', device)}")


def _crf() -> Check:
    from stego_app.crf import available_engines

    engines = available_engines()
    found = f"{engines[0]} runs; " + ("pydensecrf is there to compare with" if "pydensecrf" in engines else "pydensecrf is not installed (nothing needs it)")
    remedy = "" if "pydensecrf" in engines else "uv sync --extra crf (Python 3.11 or 3.12 and a C++ compiler), only to compare"
    return Check("dense CRF", True, found, remedy, needed=False)


def _runtimes() -> Check:
    from stego_app.runtime.opening import AS_GRAPH, available

    found = available()
    missing = [name for name in AS_GRAPH if name not in found]
    remedy = "uv sync --extra onnx --extra openvino, only to be faster" if missing else ""
    return Check("runtimes", True, f"{', '.join(found)} for --runtime", remedy, needed=False)


def _cache() -> Check:
    from stego_app.features.location import default_cache_folder

    folder = default_cache_folder()
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        reason = "is not writable" if existing.is_dir() else f"cannot be a folder, since {existing} is a file"
        return Check("feature cache", False, f"{folder} {reason}", "export STEGO_CACHE=/a/folder/you/can/write")
    free = shutil.disk_usage(existing).free
    used = sum(map(_size, folder.rglob("*")))
    remedy = "" if free > _ENOUGH_DISK else f"free some disk, or delete {folder}"
    return Check("feature cache", free > _ENOUGH_DISK, f"{folder} holds {used / 1e6:.0f} MB; {free / 1e9:.0f} GB free", remedy)


def _size(path: Path) -> int:
    """Bytes of a file; 0 of a folder, and of what a run has removed meanwhile."""
    try:
        return path.stat().st_size if path.is_file() else 0
    except OSError:
        return 0


def _backbone_weights() -> Check:
    from models.backbone_sources import default_backbone_path

    return _weights("backbone", default_backbone_path())


def _segmenter_weights() -> Check:
    from stego_app.segmenter_file import default_segmenter_path

    return _weights("segmenter", default_segmenter_path())


def _weights(kind: str, path: Path) -> Check:
    from models.artifact import read_artifact

    try:
        read_artifact(path, kind)
    except StegoError as error:
        return Check(f"embedded {kind}", False, str(error), "uv sync --reinstall-package stego-app")
    return Check(f"embedded {kind}", True, f"{path.stat().st_size / 1e6:.1f} MB, checksum holds")
