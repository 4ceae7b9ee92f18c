"""What single formats promise beyond coming back."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO
from test_round_trips import CLASSES, painted, with_image, write

from models.errors import StegoError
from stego_app.formats.cvat import row_runs
from stego_app.formats.distinct import distinct_colors, distinct_names
from stego_app.formats.image_file import ImageFile
from stego_app.formats.label_map import Classes, LabelMap
from stego_app.formats.registry import find_format


def test_pycocotools_reads_the_file_as_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = painted((60, 80), 3)
    for name in ("coco", "coco-instances"):
        file = write(find_format(name), tmp_path / name, [LabelMap("a.jpg", "a", labels), LabelMap("b.jpg", "b", np.full((5, 6), 255, np.uint8))])
        index = COCO(str(file))
        assert "index created" in capsys.readouterr().out
        assert [image["file_name"] for image in index.loadImgs(index.getImgIds())] == ["a.jpg", "b.jpg"]
        assert index.getAnnIds(imgIds=[2]) == []
        back = np.full(labels.shape, 255)
        for annotation in index.loadAnns(index.getAnnIds(imgIds=[1])):
            mask = index.annToMask(annotation).astype(bool)
            left, top, width, height = annotation["bbox"]
            assert annotation["area"] == mask.sum() > 0
            assert mask[top : top + height, left : left + width].sum() == mask.sum()
            assert (back[mask] == 255).all()
            back[mask] = annotation["category_id"] - 1
        assert np.array_equal(back, labels)
        assert index.loadCats([2])[0]["name"] == CLASSES.names[1]


def test_voc_and_cvat_say_which_pixels_have_no_class(tmp_path: Path) -> None:
    labels = np.array([[0, 1], [7, 255]], np.uint8)
    for name, index, color, subset in (("voc", 255, (224, 224, 192), "train"), ("cvat-mask", 0, (0, 0, 0), "default")):
        file = write(find_format(name), tmp_path, [LabelMap("deep/x.jpg", "deep/x", labels)])
        with zipfile.ZipFile(file) as archive:
            lines = archive.read("labelmap.txt").decode().splitlines()
            assert archive.read(f"ImageSets/Segmentation/{subset}.txt") == b"deep/x\n"
            with Image.open(io.BytesIO(archive.read("SegmentationClass/deep/x.png"))) as picture:
                assert np.asarray(picture).tolist() == [[1, 2], [8, index]]
                assert picture.convert("RGB").getpixel((1, 1)) == color
        assert lines[1] == "background:0,0,0::"
        colors = [line.split(":")[1] for line in lines[1:]]
        assert len(set(colors)) == len(colors)
        assert all(line.count(":") == 3 for line in lines[1:])


def test_a_colour_that_the_label_map_does_not_declare_is_named(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
        archive.writestr("labelmap.txt", "background:0,0,0::\nroad:10,20,30::\n")
        stream = io.BytesIO()
        Image.new("RGB", (3, 3), (10, 20, 31)).save(stream, "PNG")
        archive.writestr("SegmentationClass/x.png", stream.getvalue())
    found = find_format("voc").read
    assert found is not None
    with pytest.raises(StegoError, match=r"x.png: colour \(10, 20, 31\) is not declared"):
        list(found(tmp_path / "in.zip").maps)


@pytest.mark.parametrize("damaged", ["labelmap.txt", "SegmentationClass/x.png"])
def test_damaged_packed_bytes_of_a_label_zip_are_one_clear_line(damaged: str, tmp_path: Path) -> None:
    stream = io.BytesIO()
    Image.new("RGB", (3, 3), (10, 20, 30)).save(stream, "PNG")
    with zipfile.ZipFile(tmp_path / "in.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("labelmap.txt", "background:0,0,0::\nroad:10,20,30::\n")
        archive.writestr("SegmentationClass/x.png", stream.getvalue())
        start = archive.getinfo(damaged).header_offset + 30 + len(damaged)
    data = bytearray((tmp_path / "in.zip").read_bytes())
    data[start] = 0xFF  # a kind of block that deflate does not have
    (tmp_path / "in.zip").write_bytes(data)
    read = find_format("voc").read
    assert read is not None
    with pytest.raises(StegoError, match=rf"in.zip/{damaged}: damaged in the zip \(") as caught:
        list(read(tmp_path / "in.zip").maps)
    assert "\n" not in str(caught.value)


def test_cvat_counts_run_along_the_rows_zeros_first() -> None:
    assert row_runs(np.array([[0, 1, 1], [1, 0, 0]], bool)) == [1, 3, 2]
    assert row_runs(np.array([[1, 0], [0, 1]], bool)) == [0, 1, 2, 1]


def test_cvat_entities_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x.xml").write_text('<!DOCTYPE a [<!ENTITY b "c">]><annotations>&b;</annotations>')
    read = find_format("cvat").read
    assert read is not None
    with pytest.raises(StegoError, match="entities could grow without end; refused"):
        read(tmp_path / "x.xml")


def test_an_encoding_of_xml_that_there_is_not_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "in.xml").write_text('<?xml version="1.0" encoding="x"?><annotations></annotations>')
    read = find_format("cvat").read
    assert read is not None
    with pytest.raises(StegoError, match=r"in.xml: not readable as XML \(unknown encoding: x\)"):
        read(tmp_path / "in.xml")


def test_geotiff_takes_the_place_of_its_image(tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio")
    from rasterio.transform import from_origin

    labels = painted((70, 90), 5)
    place = {"crs": "EPSG:32633", "transform": from_origin(500_000, 5_400_000, 0.5, 0.5)}
    with rasterio.open(tmp_path / "in.tif", "w", driver="GTiff", height=70, width=90, count=4, dtype="uint16", **place) as raster:
        raster.write(np.ones((4, 70, 90), np.uint16))
    write(find_format("geotiff"), tmp_path, [LabelMap("in.tif", "in", labels, ImageFile(tmp_path / "in.tif"))])
    with rasterio.open(tmp_path / "geotiff" / "in.tif") as raster:
        assert (raster.crs, raster.transform) == (rasterio.crs.CRS.from_epsg(32633), place["transform"])
        assert (raster.nodata, raster.count, raster.dtypes[0]) == (255, 1, "uint8")
        assert np.array_equal(raster.read(1), labels)
        assert raster.colormap(1)[1][:3] == (220, 30, 30)
        assert json.loads(raster.tags()["CLASS_NAMES"]) == list(CLASSES.names)
    other = LabelMap("in.tif", "in", labels[:50], ImageFile(tmp_path / "in.tif"))
    with pytest.raises(StegoError, match="its label map has another size"):
        write(find_format("geotiff"), tmp_path, [other])


@pytest.mark.parametrize("source", [True, False])
def test_a_name_that_rasterio_cannot_take_is_one_clear_line(source: bool, tmp_path: Path) -> None:
    pytest.importorskip("rasterio")
    labels = tmp_path / ("l\udcff.png" if source else "l.png")
    Image.fromarray(np.zeros((4, 5), np.uint8)).save(labels)
    with pytest.raises(StegoError, match="rasterio takes names in UTF-8 only"):
        write(find_format("geotiff"), tmp_path if source else tmp_path / "o\udcff", [LabelMap("a.png", "a", labels)])


def test_yolo_links_images_and_lists_no_pixel_without_class(tmp_path: Path) -> None:
    labels = np.full((20, 30), 255, np.uint8)
    labels[4:16, 5:25] = 2
    labels[8:10, 10:14] = 255
    item = with_image(tmp_path / "photos", "a.png", labels)
    folder = write(find_format("yolo"), tmp_path, [item])
    assert (folder / "images" / "a.png").samefile(tmp_path / "photos" / "a.png")
    (line,) = (folder / "labels" / "a.txt").read_text().splitlines()
    assert line.startswith("2 ")
    assert all(0 < float(value) < 1 for value in line.split()[1:])


def test_label_studio_names_and_colours_are_in_the_interface(tmp_path: Path) -> None:
    write(find_format("label-studio"), tmp_path, [LabelMap("a b/ü.jpg", "a b/ü", painted((9, 9), 0))])
    text = (tmp_path / "label-studio.xml").read_text()
    assert '<Label value="tree, leafy" background="#dc1e1e"/>' in text
    (task,) = json.loads((tmp_path / "label-studio.json").read_text())
    assert task["data"]["image"] == "/data/local-files/?d=a%20b/%C3%BC.jpg"
    result = task["predictions"][0]["result"][0]
    assert (result["type"], result["from_name"], result["to_name"], result["value"]["format"]) == ("brushlabels", "tag", "image", "rle")


def test_names_and_colours_are_made_distinct() -> None:
    assert distinct_names(["a", "a", "a 2", "x:y"], reserved=["x_y"], forbidden=":") == ["a", "a 2", "a 2 2", "x_y 2"]
    colors = distinct_colors(np.array([(0, 0, 0), (9, 9, 9), (9, 9, 9)], np.uint8), reserved=[(0, 0, 0)])
    assert len({*colors, (0, 0, 0)}) == 4
    assert np.abs(np.array(colors) - [(0, 0, 0), (9, 9, 9), (9, 9, 9)]).max() == 1


def test_more_classes_than_voc_holds_are_refused() -> None:
    item = LabelMap("a", "a", np.zeros((2, 2), np.uint8))
    with pytest.raises(StegoError, match="255 classes: VOC holds at most 254"):
        find_format("voc").encode(item, Classes.of(str(label) for label in range(255)))
    with pytest.raises(StegoError, match="256 classes: expected at most 255"):
        Classes.of(str(label) for label in range(256))
