"""A plain folder of images, with or without a folder of labels: the same sub-path, as PNG."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from models.errors import StegoError
from stego_app.data.dataset import VOID, Dataset, LabelRule, Sample
from stego_app.images import find_images

META = "meta.json"
"""Beside the folders, may name the classes: ``{"classes": ["sky", …], "void": 255}``."""


def open_folder(root: Path, split: str | None = None, labels: Path | None = None) -> Dataset:
    """The images under ``root``, or under its sub-folder ``images`` (or ``imgs``) where labels lie beside it in ``labels``.

    The label of ``a/b.jpg`` is ``a/b.png`` (or ``a/b.jpg.png``) in the folder of labels. Images without a label are
    kept; it is an error if labels were promised and no image has one.

    Args:
        root: the folder.
        split: a sub-folder of images and labels to keep to.
        labels: the folder of labels, if not ``root/labels``.

    Raises:
        StegoError: a folder that is missing or empty, a label folder in which no image has a label, or a damaged meta.json.
    """
    images, labels = _folders(root, labels)
    if split is not None and not (images / split).is_dir():
        raise StegoError(f"{images}: no split {split!r}; expected a sub-folder of that name")
    found = find_images(images / split if split else images)
    if labels is not None:
        inside, base = labels.resolve(), images.resolve()  # one may be given from the root of the file system and the other not
        found = [path for path in found if not (base / path.relative_to(images)).is_relative_to(inside)]
        if not found:
            raise StegoError(f"{images}: no images found outside the folder of labels {labels}")
    keys = unique_keys([path.relative_to(images) for path in found])
    samples = [Sample(path, key, _label_of(path.relative_to(images), labels)) for path, key in zip(found, keys, strict=True)]
    if labels is not None and all(sample.label is None for sample in samples):
        raise StegoError(f"{labels}: no label found for any of {len(samples)} images; expected {labels / keys[0]}.png for {found[0]}")
    names, void = read_meta(root / META)
    rule = LabelRule.plain(None if names is None else len(names), void)
    return Dataset(f"{root.name}{f' {split}' if split else ''}", root, samples, names, rule)


def unique_keys(paths: list[Path]) -> list[str]:
    """``paths`` without suffix, POSIX; with it where two would be the same."""
    plain = [path.with_suffix("").as_posix() for path in paths]
    count = Counter(plain)
    return [key if count[key] == 1 else path.as_posix() for key, path in zip(plain, paths, strict=True)]


def read_meta(path: Path) -> tuple[tuple[str, ...] | None, int]:
    """Class names and void value of a meta.json; (None, 255) where there is no such file or it names no classes.

    Raises:
        StegoError: not JSON, or not the fields described at `META`.
    """
    if not path.is_file():
        return None, VOID
    try:
        meta = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StegoError(f"{path}: not readable as JSON ({error})") from error
    if not isinstance(meta, dict) or "classes" not in meta:
        return None, VOID
    names, void = meta["classes"], meta.get("void", VOID)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names) or not 0 < len(names) < VOID:
        raise StegoError(f"{path}: classes: expected a list of 1 to {VOID - 1} names")
    if not isinstance(void, int) or not 0 <= void <= VOID:
        raise StegoError(f"{path}: void: expected a number from 0 to {VOID}")
    return tuple(names), void


def _folders(root: Path, labels: Path | None) -> tuple[Path, Path | None]:
    """Where images and labels lie."""
    if labels is not None and not labels.is_dir():
        raise StegoError(f"{labels}: no such folder of labels")
    if labels is None and (root / "labels").is_dir():
        labels = root / "labels"
    if labels is not None:
        for name in ("images", "imgs"):
            if (root / name).is_dir():
                return root / name, labels
    return root, labels


def _label_of(relative: Path, labels: Path | None) -> Path | None:
    if labels is None:
        return None
    candidates = (labels / relative.with_suffix(".png"), labels / relative.with_name(f"{relative.name}.png"))
    return next((path for path in candidates if path.is_file()), None)
