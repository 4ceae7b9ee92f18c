"""Rasters: labelled tile by tile as they would be whole, with their place, their holes and their many bands."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from test_label_folder import ColourSegmenter

from models.errors import StegoError
from stego_app.formats.image_file import ImageFile
from stego_app.labelling import LabelSettings, label_folder
from stego_app.labelling import large as large_module
from stego_app.labelling.manifest import read_entries
from stego_app.labelling.raster import is_tiled, read_whole
from stego_app.labelling.tile_grid import TileGrid, join
from stego_app.labelling.tile_worker import finish_tile

rasterio = pytest.importorskip("rasterio")
PLAIN = LabelSettings(crf=False, jobs=1)


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Starting processes would take longer than all tests here."""
    monkeypatch.setattr(large_module, "FEW_BLOCKS", 10**6)


def blobs(height: int, width: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    """A picture of large red, green and blue patches."""
    small = np.random.default_rng(seed).integers(0, 3, (height // 40 + 1, width // 40 + 1))
    return (np.eye(3, dtype=np.uint8)[small] * 240 + 8).repeat(40, axis=0).repeat(40, axis=1)[:height, :width]


def raster(path: Path, bands: npt.NDArray[Any], **options: Any) -> Path:
    from rasterio.transform import from_origin

    profile = {"driver": "GTiff", "count": len(bands), "height": bands.shape[1], "width": bands.shape[2], "dtype": bands.dtype.name}
    with rasterio.open(path, "w", **profile, **{"crs": "EPSG:32633", "transform": from_origin(1000, 2000, 2, 2), **options}) as file:
        file.write(bands)
    return path


def labels_of(path: Path) -> npt.NDArray[np.uint8]:
    with Image.open(path) as image:
        assert image.mode == "P"
        return np.asarray(image)


@pytest.mark.parametrize("size", [(200, 328), (64, 64), (72, 504), (128, 40)])
def test_tiles_give_what_the_whole_image_gives(size: tuple[int, int], tmp_path: Path) -> None:
    source = raster(tmp_path / "a.tif", blobs(*size).transpose(2, 0, 1))
    label_folder(source, tmp_path / "whole", ColourSegmenter(), PLAIN)
    label_folder(source, tmp_path / "tiles", ColourSegmenter(), PLAIN.model_copy(update={"tile": 48, "formats": ("geotiff",), "overlays": True}))
    whole, tiles = (labels_of(tmp_path / kind / "labels" / "a.png") for kind in ("whole", "tiles"))
    assert tiles.shape == size
    # The segmenter sees no context, and sides are whole patches: only ties at half precision may fall otherwise.
    assert (whole == tiles).mean() > 0.999
    with rasterio.open(tmp_path / "tiles" / "geotiff" / "a.tif") as made, rasterio.open(source) as given_raster:
        assert (made.crs, made.transform) == (given_raster.crs, given_raster.transform)
        assert np.array_equal(made.read(1), tiles)
    with Image.open(tmp_path / "tiles" / "overlays" / "a.jpg") as overlay:
        assert overlay.size == size[::-1]
    assert not (tmp_path / "tiles" / ".tiles").exists()
    assert label_folder(source, tmp_path / "tiles", ColourSegmenter(), PLAIN.model_copy(update={"tile": 48})).skipped == 1


class Failing(ColourSegmenter):
    """Gives up after some tiles, as a killed process does."""

    left = 10**9

    def class_probabilities(self, images: Sequence[npt.NDArray[np.uint8]], **options: Any) -> list[npt.NDArray[np.float32]]:
        Failing.left -= 1
        if Failing.left < 0:
            raise KeyboardInterrupt
        return super().class_probabilities(images, **options)


def test_an_interrupted_raster_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = raster(tmp_path / "a.tif", blobs(300, 300).transpose(2, 0, 1))
    settings = PLAIN.model_copy(update={"tile": 64, "batch_size": 1})
    segmenter = ColourSegmenter()
    label_folder(source, tmp_path / "whole", segmenter, settings)
    rows = len(TileGrid(300, 300, 8, 8).starts(0))
    assert len(segmenter.batch_sizes) == rows * rows + 1  # one to see how many patches there are
    monkeypatch.setattr(Failing, "left", 3 * rows + 1)
    with pytest.raises(KeyboardInterrupt):
        label_folder(source, tmp_path / "out", Failing(), settings)
    assert not (tmp_path / "out" / "labels" / "a.png").exists()
    assert read_entries(tmp_path / "out") == {}
    monkeypatch.setattr(large_module, "finish_tile", _refuse)
    assert label_folder(source, tmp_path / "out", ColourSegmenter(), settings).failed == 1
    monkeypatch.setattr(large_module, "finish_tile", finish_tile)
    again = ColourSegmenter()
    assert label_folder(source, tmp_path / "out", again, settings).labelled == 1
    assert len(again.batch_sizes) == 1
    assert (tmp_path / "out" / "labels" / "a.png").read_bytes() == (tmp_path / "whole" / "labels" / "a.png").read_bytes()


def cut_short(path: Path, how: str) -> None:
    data = path.read_bytes()
    path.write_bytes({"empty": b"", "half": data[: len(data) // 2], "zeros": data[:60] + bytes(40) + data[100:]}[how])


@pytest.mark.parametrize("how", ["empty", "half", "zeros"])
def test_what_was_kept_of_a_raster_is_made_again_where_it_is_damaged(how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, out = raster(tmp_path / "a.tif", blobs(200, 200).transpose(2, 0, 1)), tmp_path / "out"
    settings = PLAIN.model_copy(update={"tile": 64, "batch_size": 1, "confidence": True})
    label_folder(source, tmp_path / "whole", ColourSegmenter(), settings)
    with monkeypatch.context() as patch:
        patch.setattr(large_module, "finish_tile", _refuse)
        assert label_folder(source, out, ColourSegmenter(), settings).failed == 1
    rows = sorted(out.rglob("row-*.npz"))
    cut_short(rows[1], how)
    again = ColourSegmenter()
    with monkeypatch.context() as patch:
        patch.setattr(large_module, "count_labels", _refuse)
        assert [reason for _, reason in label_folder(source, out, again, settings).failures] == ["no more"]
    assert len(again.batch_sizes) == len(rows) + 1  # one row of as many tiles, and one to see how many patches there are
    cut_short(sorted(out.rglob("strip-*.npz"))[1], how)
    again = ColourSegmenter()
    assert label_folder(source, out, again, settings).labelled == 1
    assert len(again.batch_sizes) == 1
    for name in ("labels/a.png", "confidence/a.png"):
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def _refuse(_task: Any) -> Any:
    raise StegoError("no more")


def test_pixels_without_data_get_no_class(tmp_path: Path) -> None:
    bands = blobs(160, 200).transpose(2, 0, 1).copy()
    bands[:, :, :90] = 0
    source = raster(tmp_path / "a.tif", bands, nodata=0)
    for name, tile in (("whole", None), ("tiles", 64)):
        label_folder(source, tmp_path / name, ColourSegmenter(), PLAIN.model_copy(update={"tile": tile}))
        labels = labels_of(tmp_path / name / "labels" / "a.png")
        assert (labels[:, :90] == 255).all()
        assert (labels[:, 90:] != 255).all()


def test_confidence_and_abstention_of_tiles(tmp_path: Path) -> None:
    source = raster(tmp_path / "a.tif", blobs(160, 200).transpose(2, 0, 1))
    settings = PLAIN.model_copy(update={"tile": 64, "confidence": True, "abstain": 0.4})
    summary = label_folder(source, tmp_path / "out", ColourSegmenter(), settings)
    labels = labels_of(tmp_path / "out" / "labels" / "a.png")
    with Image.open(tmp_path / "out" / "confidence" / "a.png") as image:
        assert image.mode == "L"
        shown = np.asarray(image)
    for label, confidence in ((0, 0.9), (1, 0.5), (255, 0.3)):
        assert np.abs(shown[labels == label] - 255 * confidence).max() <= 1
    entry = read_entries(tmp_path / "out")["a.tif"]
    assert entry.abstained == (labels == 255).sum() > 0
    assert entry.confidence == pytest.approx(((labels == 0) * 0.9 + (labels == 1) * 0.5 + (labels == 255) * 0.3).mean(), abs=0.01)
    assert summary.doubtful[0].image == "a.tif"


def test_bands_of_16_bits_are_stretched_and_red_green_blue_are_found(tmp_path: Path) -> None:
    from rasterio.enums import ColorInterp

    picture = blobs(90, 120).astype(np.uint16) * 12 + 300
    source = raster(tmp_path / "a.tif", np.stack([picture[..., 2], picture[..., 1], picture[..., 0], picture[..., 0]]))
    with rasterio.open(source, "r+") as file:
        file.colorinterp = [ColorInterp.blue, ColorInterp.green, ColorInterp.red, ColorInterp.undefined]
    pixels, valid = read_whole(ImageFile(source))
    assert valid.all()
    assert np.array_equal(pixels > 128, blobs(90, 120) > 128)
    assert label_folder(source, tmp_path / "out", ColourSegmenter(), PLAIN).failed == 0
    one = raster(tmp_path / "one.tif", np.linspace(0, 1, 100 * 90, dtype=np.float32).reshape(1, 90, 100))
    grey, _ = read_whole(ImageFile(one))
    assert (grey[0, 0].tolist(), grey[-1, -1].tolist()) == ([0, 0, 0], [255, 255, 255])


def test_which_images_are_tiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = raster(tmp_path / "a.tif", blobs(64, 100).transpose(2, 0, 1))
    Image.fromarray(blobs(64, 100)).save(tmp_path / "a.png")
    assert [is_tiled(ImageFile(source), tile) for tile in (None, 0, 64, 100)] == [False, False, True, False]
    assert not is_tiled(ImageFile(tmp_path / "a.png"), 10)
    monkeypatch.setattr("stego_app.labelling.raster.LARGE_PIXELS", 6000)
    assert is_tiled(ImageFile(source), None)
    assert not is_tiled(ImageFile(source), 0)


def test_without_rasterio_the_line_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = raster(tmp_path / "a.tif", blobs(64, 100).transpose(2, 0, 1), nodata=0)
    monkeypatch.setitem(__import__("sys").modules, "rasterio", None)
    for tile in (None, 32):
        ((name, reason),) = label_folder(source, tmp_path / "out", ColourSegmenter(), PLAIN.model_copy(update={"tile": tile})).failures
        assert name == "a.tif"
        assert "pip install 'stego-app[geo]'" in reason


@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 9), st.integers(2, 12))
def test_tiles_cover_the_raster_and_a_constant_stays_one(height: int, width: int, cell: int, reach: int) -> None:
    grid = TileGrid(height, width, cell, reach)
    for axis in (0, 1):
        starts, length = grid.starts(axis), grid.cells[axis]
        assert starts[0] == 0
        assert starts[-1] + reach >= length
        shape = (2, reach, 3) if axis == 0 else (2, 3, reach)
        joined = join([np.full(shape, 0.5, np.float32)] * len(starts), starts, grid.tent(), length, axis=axis + 1)
        assert joined.shape[axis + 1] == length
        assert np.allclose(joined, 0.5)
