"""Every kind of image a folder may hold: read as meant, or refused with one line."""

from __future__ import annotations

import os
import struct
import threading
import warnings
import zlib
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageOps

from models.errors import StegoError
from stego_app.images import ImageError, TooManyPixelsError, find_images, image_size, read_image, read_index_image, turn_upright

RANDOM = np.random.default_rng(0)
PIXELS = RANDOM.integers(0, 256, (6, 9, 3), dtype=np.uint8)
SMOOTH = np.dstack([np.add.outer(np.arange(48) * 2, np.arange(64) * k) for k in (1, 2, 0)]).astype(np.uint8)


@pytest.fixture(autouse=True)
def no_warning_leaks() -> object:
    """Any warning that leaves the reader fails the test."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_declaring(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header declares any size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")


def one_line(error: pytest.ExceptionInfo[StegoError]) -> str:
    message = str(error.value)
    assert "\n" not in message
    return message


# Conversions -------------------------------------------------------------------------------------------------------


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


# Refusals ----------------------------------------------------------------------------------------------------------


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ImageError) as error:
        read_image(tmp_path / "absent.jpg")
    assert one_line(error) == f"{tmp_path / 'absent.jpg'}: no such file"


def test_folder_named_like_an_image(tmp_path: Path) -> None:
    (tmp_path / "x.png").mkdir()
    with pytest.raises(ImageError) as error:
        read_image(tmp_path / "x.png")
    assert one_line(error).endswith("x.png: is a folder; expected an image file")


def test_0_byte_file_bytes_and_stream(tmp_path: Path) -> None:
    (tmp_path / "none.jpg").touch()
    for source in (tmp_path / "none.jpg", b"", BytesIO()):
        with pytest.raises(ImageError) as error:
            read_image(source)
        assert one_line(error).endswith("the file is empty (0 bytes)")


def test_text_file_named_jpg(tmp_path: Path) -> None:
    (tmp_path / "notes.jpg").write_text("not a picture\n" * 100)
    with pytest.raises(ImageError) as error:
        read_image(tmp_path / "notes.jpg")
    assert one_line(error).endswith("notes.jpg: not an image, or its header is damaged or of an unsupported kind")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_truncated(kind: str, share: float) -> None:
    noise = Image.fromarray(RANDOM.integers(0, 256, (200, 200, 3), dtype=np.uint8))
    data = encoded(noise, kind)
    with pytest.raises(ImageError) as error:
        read_image(data[: int(len(data) * share)], name="cut")
    assert one_line(error).startswith("cut: ")


def test_corrupt_data_give_one_line_or_pixels_but_never_another_error() -> None:
    """Bytes overwritten at random: formats without checksums may decode to something, but nothing else may escape."""
    random = np.random.default_rng(1)
    refused = 0
    for kind in ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "JPEG2000", "PPM"):
        data = np.frombuffer(encoded(Image.fromarray(SMOOTH), kind), dtype=np.uint8)
        for _ in range(40):
            damaged = data.copy()
            places = random.integers(0, len(data), max(4, len(data) // 50))
            damaged[places] = random.integers(0, 256, len(places))
            try:
                read_image(damaged.tobytes(), max_pixels=10_000_000)
            except ImageError as error:
                assert "\n" not in str(error)  # noqa: PT017 - either outcome is right
                refused += 1
    assert refused > 100


def test_corrupt_png_is_named(tmp_path: Path) -> None:
    data = bytearray(encoded(Image.fromarray(SMOOTH), "PNG"))
    start = data.index(b"IDAT") + 6  # after the name and zlib's two bytes; all ones name a kind of block that does not exist
    data[start : start + 40] = b"\xff" * 40
    (tmp_path / "bad.png").write_bytes(bytes(data))
    with pytest.raises(ImageError) as error:
        read_image(tmp_path / "bad.png")
    assert one_line(error).startswith(f"{tmp_path / 'bad.png'}: the image data are truncated or damaged")


@pytest.mark.parametrize(("width", "height"), [(10_001, 10_000), (16_000, 16_000), (60_000, 60_000), (2_000_000_000, 2)])
def test_decompression_bomb_is_refused_before_decoding(width: int, height: int) -> None:
    with pytest.raises(ImageError) as error:
        read_image(png_declaring(width, height), name="bomb.png", max_pixels=100_000_000)
    assert one_line(error).startswith("bomb.png: declares")
    assert "100,000,000" in one_line(error)


def test_huge_but_allowed_dimensions_are_not_refused_for_their_size() -> None:
    """Above Pillow's own limit and below ours: it goes on to decode (and here finds the data missing)."""
    with pytest.raises(ImageError, match="truncated or damaged"):
        read_image(png_declaring(1_000, 190_000), max_pixels=200_000_000)


def test_limit_counts_pixels_exactly_and_pillow_keeps_its_own() -> None:
    before = Image.MAX_IMAGE_PIXELS
    data = encoded(Image.fromarray(PIXELS), "PNG")
    assert read_image(data, max_pixels=54).shape == (6, 9, 3)
    with pytest.raises(ImageError):
        read_image(data, max_pixels=53)
    assert before == Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize(("width", "height"), [(0, 5), (5, 0)])
def test_image_without_pixels(width: int, height: int) -> None:
    with pytest.raises(ImageError):
        read_image(png_declaring(width, height))


def test_formats_that_start_programs_are_not_tried() -> None:
    postscript = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n"
    with pytest.raises(ImageError, match="not an image"):
        read_image(postscript)


def test_threads_read_at_once() -> None:
    data = [encoded(Image.fromarray(np.full((40, 50, 3), value, dtype=np.uint8)), "PNG") for value in range(24)]
    results: dict[int, npt.NDArray[np.uint8]] = {}

    def work(number: int) -> None:
        results[number] = read_image(data[number])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all((results[number] == number).all() for number in range(24))


# Index pictures ----------------------------------------------------------------------------------------------------


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


# Folders -----------------------------------------------------------------------------------------------------------


def test_find_images_is_recursive_sorted_and_skips_what_is_hidden_or_no_image(tmp_path: Path) -> None:
    for name in ("b.PNG", "a/2.jpg", "a/10.jpeg", "a/deep/x.tif", "z.webp", ".hidden.png", ".cache/c.png", "notes.txt", "a/._2.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    found = [path.relative_to(tmp_path).as_posix() for path in find_images(tmp_path)]
    assert found == ["a/10.jpeg", "a/2.jpg", "a/deep/x.tif", "b.PNG", "z.webp"]


def test_find_images_follows_links_but_not_in_circles(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "one.png").touch()
    root = tmp_path / "root"
    root.mkdir()
    (root / "linked").symlink_to(tmp_path / "real")
    (root / "linked" / "back").symlink_to(root)
    assert find_images(root) == [root / "linked" / "one.png"]


def test_find_images_refuses_missing_file_and_empty(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    file.touch()
    empty = tmp_path / "empty"
    empty.mkdir()
    for root, reason in ((tmp_path / "absent", "no such folder"), (file, "expected a folder of images"), (empty, "no images found; looked for")):
        with pytest.raises(StegoError) as error:
            find_images(root)
        assert one_line(error).startswith(f"{root}: ")
        assert reason in str(error.value)


def test_the_declared_size_of_an_image() -> None:
    assert image_size(encoded(Image.fromarray(PIXELS), "PNG"), "image", 54) == (9, 6)
    assert image_size(png_declaring(20_000, 10_000), "image", 200_000_000) == (20_000, 10_000)  # above Pillow's own limit of 179 million


@pytest.mark.parametrize(("width", "height", "limit"), [(9, 6, 53), (20_000, 10_000, 199_999_999), (60_000, 60_000, 40_000_000)])
def test_a_declared_size_above_the_limit(width: int, height: int, limit: int) -> None:
    with pytest.raises(TooManyPixelsError, match=rf"^photo: declares .*more than .*{limit:,}"):
        image_size(png_declaring(width, height), "photo", limit)


@pytest.mark.parametrize("data", [b"", b"a text", b"\x89PNG\r\n\x1a\n"])
def test_what_has_no_size(data: bytes) -> None:
    with pytest.raises(ImageError, match=r"^photo: ") as caught:
        image_size(data, "photo", 100)
    assert not isinstance(caught.value, TooManyPixelsError)


def test_sizes_are_read_while_other_threads_set_other_limits() -> None:
    large, small = png_declaring(20_000, 10_000), png_declaring(30, 20)
    sizes: list[tuple[int, int]] = []

    def measure(data: bytes, limit: int) -> None:
        sizes.extend([image_size(data, "image", limit) for _ in range(50)])

    threads = [threading.Thread(target=measure, args=arguments) for arguments in ((large, 200_000_000), (small, 600))]
    before = Image.MAX_IMAGE_PIXELS
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(sizes) == [(30, 20)] * 50 + [(20_000, 10_000)] * 50
    assert before == Image.MAX_IMAGE_PIXELS
