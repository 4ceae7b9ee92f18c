"""Files that are no images, damaged, cut short or too large: one line that names them, and never another error."""

from __future__ import annotations

import threading
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from stego_app.images import ImageError, read_image
from tests.stego_app.picture_parts import PIXELS, RANDOM, SMOOTH, encoded, one_line, png_declaring

pytestmark = pytest.mark.filterwarnings("error")  # any warning that leaves the reader


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
