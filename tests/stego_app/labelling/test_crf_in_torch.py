"""A segmenter whose CRF runs beside its network, as on a GPU: the labels are those of the worker processes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from drawn_clip import moving_square, write_clip
from PIL import Image
from test_label_folder import ColourSegmenter

from stego_app.crf import pool as pool_module
from stego_app.labelling import LabelSettings, label_folder
from stego_app.labelling.manifest import read_entries

SETTINGS = LabelSettings(jobs=1, overlays=True, tile=48)


class InTorch(ColourSegmenter):
    """As on a GPU, without one."""

    crf_engine = "torch"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Five images, a raster that is tiled, and a clip."""
    folder = tmp_path / "in"
    folder.mkdir()
    random = np.random.default_rng(0)
    for number in range(5):
        noise = random.normal(0, 30, (48 + 8 * number, 72, 3))
        blocks = np.eye(3)[random.integers(0, 3, (noise.shape[0] // 8, 9))].repeat(8, axis=0).repeat(8, axis=1) * 160 + 40
        Image.fromarray((blocks + noise).clip(0, 255).astype(np.uint8)).save(folder / f"{number}.png")
    write_clip(folder / "clip.avi", moving_square(6), 10.0)
    return folder


def test_labels_are_those_of_the_worker_processes(source: Path, tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio")
    bands = np.asarray(Image.open(source / "4.png")).transpose(2, 0, 1).repeat(2, axis=1).repeat(2, axis=2)
    with rasterio.open(
        source / "field.tif", "w", driver="GTiff", count=3, height=bands.shape[1], width=bands.shape[2], dtype="uint8", transform=rasterio.Affine.scale(2)
    ) as file:
        file.write(bands)
    plain, ours = tmp_path / "plain", tmp_path / "ours"
    for out, segmenter in ((plain, ColourSegmenter()), (ours, InTorch())):
        summary = label_folder(source, out, segmenter, SETTINGS)
        assert (summary.labelled, summary.failures) == (7, ())
    names = sorted(path.relative_to(plain) for path in (plain / "labels").rglob("*.png"))
    assert len(names) == 6 + 6
    unrefined = tmp_path / "unrefined"
    label_folder(source, unrefined, ColourSegmenter(), SETTINGS.model_copy(update={"crf": False}))
    changed = 0.0
    for name in names:
        first, second, third = (np.asarray(Image.open(folder / name)) for folder in (plain, ours, unrefined))
        assert (first == second).mean() > 0.999
        changed += (second != third).mean()
    assert changed > 0.01, "the CRF changes something here"


def test_no_process_is_started_for_a_clip(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module.CrfPool, "_started", lambda _pool: pytest.fail("a process was started"))
    summary = label_folder(source / "clip.avi", tmp_path / "out", InTorch(), SETTINGS)
    assert summary.labelled == 1


def test_one_image_that_cannot_be_refined_does_not_stop_the_others(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from stego_app.labelling import labeller

    def failing(probabilities: np.ndarray, seen: np.ndarray, *rest: object) -> np.ndarray:
        if seen.shape[0] == 56:
            raise RuntimeError("CUDA out of\nmemory")
        return refine_patches(probabilities, seen, *rest)

    refine_patches = labeller.refine_patches
    monkeypatch.setattr(labeller, "refine_patches", failing)
    (source / "clip.avi").unlink()
    summary = label_folder(source, tmp_path / "out", InTorch(), SETTINGS)
    assert (summary.labelled, summary.failures) == (4, (("1.png", "RuntimeError: CUDA out of memory"),))
    assert read_entries(tmp_path / "out")["1.png"].status == "failed"
