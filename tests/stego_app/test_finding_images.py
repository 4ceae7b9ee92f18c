"""Which files of a folder are images, and the size that an image declares before it is decoded."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from PIL import Image

from models.errors import StegoError
from stego_app.images import ImageError, TooManyPixelsError, find_images, image_size
from tests.stego_app.picture_parts import PIXELS, encoded, one_line, png_declaring

pytestmark = pytest.mark.filterwarnings("error")  # any warning that leaves the reader


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
