"""Every kind of image a folder may hold: read as meant, or refused with one line."""

from __future__ import annotations

import os
import struct
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from stego_app.images import ImageError, read_image, read_index_image, turn_upright
from tests.stego_app.picture_parts import PIXELS, RANDOM, SMOOTH, encoded, one_line

pytestmark = pytest.mark.filterwarnings("error")  # any warning that leaves the reader


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM"])
def test_rgb_is_read_as_it_is_from_path_bytes_and_stream(tmp_path: Path, kind: str) -> None:
    data = encoded(Image.fromarray(PIXELS), kind)
    path = tmp_path / "picture"
    path.write_bytes(data)
    with path.open("rb") as stream:
        results = [read_image(path), read_image(str(path)), read_image(data), read_image(stream)]
    for result in results:
        assert result.dtype == np.uint8
        assert result.flags.c_contiguous
        np.testing.assert_array_equal(result, PIXELS)


def test_a_path_as_text_is_named_as_it_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.png").write_bytes(encoded(Image.fromarray(PIXELS[..., 0]), "PNG"))
    np.testing.assert_array_equal(read_index_image("a.png"), PIXELS[..., 0])
    for name, said in (("absent.jpg", "no such file"), (str(tmp_path), "is a folder; expected an image file")):
        with pytest.raises(ImageError) as error:
            read_image(name)
        assert one_line(error) == f"{name}: {said}"


def test_unseekable_stream() -> None:
    reading, writing = os.pipe()
    with os.fdopen(writing, "wb") as sink:
        sink.write(encoded(Image.fromarray(PIXELS), "PNG"))
    with os.fdopen(reading, "rb") as source:
        np.testing.assert_array_equal(read_image(source), PIXELS)


def test_jpeg_and_webp_are_close() -> None:
    for kind in ("JPEG", "WEBP"):
        result = read_image(encoded(Image.fromarray(SMOOTH), kind, quality=95))
        assert np.abs(result.astype(int) - SMOOTH).mean() < 5


def test_grey_image_has_three_equal_channels() -> None:
    result = read_image(encoded(Image.fromarray(PIXELS[..., 0]), "PNG"))
    np.testing.assert_array_equal(result, np.repeat(PIXELS[..., :1], 3, axis=2))


def test_one_bit_image() -> None:
    bits = PIXELS[..., 0] > 127
    result = read_image(encoded(Image.fromarray(bits), "PNG"))
    np.testing.assert_array_equal(result[..., 1], np.where(bits, 255, 0))


def test_palette_image() -> None:
    image = Image.fromarray(PIXELS).quantize(16)
    np.testing.assert_array_equal(read_image(encoded(image, "PNG")), np.asarray(image.convert("RGB")))


def test_palette_image_with_transparent_entry_is_laid_on_white() -> None:
    image = Image.fromarray(np.array([[0, 1]], dtype=np.uint8))
    image.putpalette([10, 20, 30, 40, 50, 60])
    result = read_image(encoded(image, "PNG", transparency=0))
    np.testing.assert_array_equal(result, [[[255, 255, 255], [40, 50, 60]]])


def test_alpha_is_composited_on_white() -> None:
    alpha = RANDOM.integers(0, 256, PIXELS.shape[:2], dtype=np.uint8)
    result = read_image(encoded(Image.fromarray(np.dstack([PIXELS, alpha])), "PNG"))
    share = alpha[..., None] / 255
    np.testing.assert_allclose(result, PIXELS * share + 255 * (1 - share), atol=1)


def test_grey_with_alpha_is_composited_on_white() -> None:
    result = read_image(encoded(Image.fromarray(np.array([[[100, 0], [100, 255]]], dtype=np.uint8)), "PNG"))
    np.testing.assert_array_equal(result[..., 0], [[255, 100]])


def test_rgb_with_a_transparent_colour_is_laid_on_white() -> None:
    result = read_image(encoded(Image.fromarray(np.array([[[1, 2, 3], [4, 5, 6]]], dtype=np.uint8)), "PNG", transparency=(1, 2, 3)))
    np.testing.assert_array_equal(result, [[[255, 255, 255], [4, 5, 6]]])


def test_cmyk_jpeg_has_the_colours_of_its_inks() -> None:
    inks = np.zeros((16, 32, 4), dtype=np.uint8)
    inks[:, :16] = (0, 255, 255, 0)  # magenta and yellow make red
    inks[:, 16:] = (0, 0, 0, 255)
    result = read_image(encoded(Image.frombytes("CMYK", (32, 16), inks.tobytes()), "JPEG", quality=100))
    assert np.abs(result[8, 4].astype(int) - (255, 0, 0)).max() < 8
    assert result[8, 28].max() < 8


def test_cmyk_and_lab_tiff() -> None:
    inks = np.tile(np.array([255, 0, 0, 0], dtype=np.uint8), (4, 4, 1))
    np.testing.assert_array_equal(read_image(encoded(Image.frombytes("CMYK", (4, 4), inks.tobytes()), "TIFF"))[0, 0], (0, 255, 255))
    lab = Image.frombytes("LAB", (4, 4), bytes([255, 0, 0] * 16))
    assert read_image(encoded(lab, "TIFF")).min() > 250  # full lightness, no colour


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_16_bit_grey_is_scaled_by_the_full_range(suffix: str) -> None:
    values = np.array([[0, 255, 256, 32768, 65535]], dtype=np.uint16)
    _, data = cv2.imencode(suffix, values)
    np.testing.assert_array_equal(read_image(data.tobytes())[..., 0], [[0, 0, 1, 128, 255]])


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_16_bit_colour_is_scaled_by_the_full_range(suffix: str) -> None:
    values = RANDOM.integers(0, 65536, (5, 7, 3)).astype(np.uint16)
    _, data = cv2.imencode(suffix, values[..., ::-1])
    np.testing.assert_array_equal(read_image(data.tobytes()), values >> 8)


def test_16_bit_colour_with_alpha() -> None:
    values = np.array([[[0, 0, 65535, 65535], [0, 0, 65535, 0]]], dtype=np.uint16)  # OpenCV's order: blue first
    _, data = cv2.imencode(".png", values)
    np.testing.assert_array_equal(read_image(data.tobytes()), [[[255, 0, 0], [255, 255, 255]]])


def test_dark_16_bit_image_stays_dark() -> None:
    _, data = cv2.imencode(".png", np.full((4, 4), 900, dtype=np.uint16))
    assert read_image(data.tobytes()).max() == 3


def test_16_bit_pgm() -> None:
    data = b"P5\n2 1\n65535\n" + np.array([0, 65535], dtype=">u2").tobytes()
    np.testing.assert_array_equal(read_image(data)[0, :, 0], [0, 255])


def test_32_bit_values_beyond_16_bits_are_refused() -> None:
    data = encoded(Image.fromarray(np.array([[0, 70000]], dtype=np.int32)), "TIFF")
    with pytest.raises(ImageError) as error:
        read_image(data, name="deep.tif")
    assert one_line(error) == "deep.tif: 32-bit values from 0 to 70000; expected 0 to 65535"


def test_float_tiff_from_0_to_1_and_from_0_to_255() -> None:
    for values in ([[0, 0.5, 1]], [[0, 127.6, 255]]):
        data = encoded(Image.fromarray(np.array(values, dtype=np.float32)), "TIFF")
        np.testing.assert_array_equal(read_image(data)[0, :, 2], [0, 128, 255])


@pytest.mark.parametrize("worst", [-1.0, 300.0, np.nan, np.inf])
def test_float_tiff_with_other_values_is_refused(worst: float) -> None:
    data = encoded(Image.fromarray(np.array([[0, worst]], dtype=np.float32)), "TIFF")
    with pytest.raises(ImageError) as error:
        read_image(data, name="height.tif")
    assert one_line(error).startswith("height.tif: floating-point values")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(Image.fromarray(SMOOTH), kind, exif=exif, **({"quality": 95} if kind in {"JPEG", "WEBP"} else {}))
    expected = np.asarray(ImageOps.exif_transpose(Image.open(BytesIO(data))).convert("RGB"))
    result = read_image(data)
    assert result.shape == ((64, 48, 3) if orientation > 4 else (48, 64, 3))
    np.testing.assert_array_equal(result, expected)


def test_turn_upright_against_the_definition_of_each_orientation() -> None:
    """EXIF 2.3, tag 274: which corner of the scene row 0, column 0 is at. Rows then columns of the stored picture name the sides."""
    scene = np.dstack([np.arange(12, dtype=np.uint8).reshape(3, 4)] * 3)
    stored = {
        1: scene,
        2: scene[:, ::-1],  # row 0 top, column 0 right
        3: scene[::-1, ::-1],  # row 0 bottom, column 0 right
        4: scene[::-1],  # row 0 bottom, column 0 left
        5: scene.transpose(1, 0, 2),  # row 0 left, column 0 top
        6: scene[:, ::-1].transpose(1, 0, 2),  # row 0 right, column 0 top
        7: scene[::-1, ::-1].transpose(1, 0, 2),  # row 0 right, column 0 bottom
        8: scene[::-1].transpose(1, 0, 2),  # row 0 left, column 0 bottom
    }
    for orientation, pixels in stored.items():
        np.testing.assert_array_equal(turn_upright(pixels, orientation), scene, err_msg=str(orientation))


def test_damaged_exif_does_not_lose_the_photo() -> None:
    data = encoded(Image.fromarray(SMOOTH), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff broken")
    assert read_image(data).shape == SMOOTH.shape


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_animation_gives_its_first_frame(kind: str) -> None:
    frames = [Image.new("RGB", (8, 6), color) for color in ("red", "lime", "blue")]
    options = {"lossless": True} if kind == "WEBP" else {}
    result = read_image(encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options))
    np.testing.assert_array_equal(result, np.tile(np.array([255, 0, 0], dtype=np.uint8), (6, 8, 1)))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_odd_metadata_do_not_warn(kind: str) -> None:
    """EXIF cut short in the middle of its table; in TIFF, a tag with more entries than it may have."""
    exif = Image.Exif()
    exif[0x0112] = 1
    exif[0x010E] = "a long description " * 9
    if kind == "TIFF":
        data = bytearray(encoded(Image.fromarray(SMOOTH), kind, exif=exif))
        entry = data.index(struct.pack("<HHI", 0x0112, 3, 1))
        data[entry + 4 : entry + 8] = struct.pack("<I", 2)
    else:
        data = bytearray(encoded(Image.fromarray(SMOOTH), kind, exif=exif.tobytes()[:40]))
    assert read_image(bytes(data)).shape == SMOOTH.shape


def test_index_picture_gives_stored_values() -> None:
    values = RANDOM.integers(0, 256, (6, 9), dtype=np.uint8)
    palette = Image.fromarray(values)
    palette.putpalette(RANDOM.integers(0, 256, 768, dtype=np.uint8).tobytes())
    for image in (Image.fromarray(values), palette):
        np.testing.assert_array_equal(read_index_image(encoded(image, "PNG")), values)
    deep = values.astype(np.uint16) * 200
    np.testing.assert_array_equal(read_index_image(encoded(Image.fromarray(deep), "PNG")), deep)
    np.testing.assert_array_equal(read_index_image(encoded(Image.fromarray(values > 127), "PNG")), values > 127)


def test_index_picture_refuses_colour_and_damage() -> None:
    with pytest.raises(ImageError) as error:
        read_index_image(encoded(Image.fromarray(PIXELS), "PNG"), name="label.png")
    assert one_line(error) == "label.png: RGB picture; expected one channel that holds class indices"
    data = encoded(Image.fromarray(RANDOM.integers(0, 256, (90, 90), dtype=np.uint8)), "PNG")
    for damaged in (data[: len(data) // 2], b"", b"text"):
        with pytest.raises(ImageError):
            read_index_image(damaged)
