"""Where images to pretrain on come from: folders, lists of files, and tar files such as CIFAR-10's subset."""

from __future__ import annotations

import hashlib
import os
import tarfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt
from PIL import Image

from models.errors import StegoError
from pretrain.views import ImageBank
from stego_app.images import IMAGE_SUFFIXES, find_images, image_size, read_image
from stego_app.labelling.inputs import listed_paths

MAX_PIXELS = 200_000_000


class ImageSource(ABC):
    """Images by index. ``names`` are paths that end in the file's name, ``sizes`` the bytes of each file."""

    names: list[str]
    sizes: list[int]

    def __len__(self) -> int:
        return len(self.names)

    @abstractmethod
    def read(self, index: int) -> npt.NDArray[np.uint8]:
        """Image ``index`` as (H, W, 3) uint8.

        Raises:
            ImageError: it cannot be read.
        """

    @abstractmethod
    def shape(self, index: int) -> tuple[int, int] | None:
        """Width and height that the file's header declares, or None where it is damaged (reading will say how)."""


class FileSource(ImageSource):
    """Image files, in the order given.

    Raises:
        StegoError: names the first that is no file.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = list(paths)
        self.names = [str(path) for path in self.paths]
        missing = next((path for path in self.paths if not path.is_file()), None)
        if missing is not None:
            raise StegoError(f"{missing}: there is no such file; expected an image")
        self.sizes = [path.stat().st_size for path in self.paths]

    def read(self, index: int) -> npt.NDArray[np.uint8]:
        return read_image(self.paths[index])

    def shape(self, index: int) -> tuple[int, int] | None:
        try:
            with Image.open(self.paths[index]) as image:
                return image.size
        except Exception:  # a damaged header can raise anything; reading the image names the reason
            return None


class TarSource(ImageSource):
    """The images of an uncompressed tar file, read in place: nothing is unpacked.

    Raises:
        StegoError: not a tar file, or no image in it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with tarfile.open(path, "r:") as archive:
                members = [member for member in archive if member.isreg() and PurePosixPath(member.name).suffix.lower() in IMAGE_SUFFIXES]
        except (tarfile.TarError, OSError) as error:
            raise StegoError(f"{path}: not an uncompressed tar file ({error})") from error
        members = sorted((member for member in members if not PurePosixPath(member.name).name.startswith(".")), key=lambda member: member.name)
        if not members:
            raise StegoError(f"{path}: no images in this tar file; looked for {' '.join(sorted(IMAGE_SUFFIXES))}")
        self.names = [f"{path}/{member.name}" for member in members]
        self.sizes = [member.size for member in members]
        self.offsets = [member.offset_data for member in members]

    def read(self, index: int) -> npt.NDArray[np.uint8]:
        return read_image(self._bytes(index), name=self.names[index])

    def shape(self, index: int) -> tuple[int, int] | None:
        try:
            return image_size(self._bytes(index), self.names[index], MAX_PIXELS)
        except StegoError:
            return None

    def _bytes(self, index: int) -> bytes:
        with self.path.open("rb") as file:  # opened each time: threads and worker processes share no position
            file.seek(self.offsets[index])
            return file.read(self.sizes[index])


class JoinedSource(ImageSource):
    """Several sources one after the other."""

    def __init__(self, sources: Sequence[ImageSource]) -> None:
        self.names = [name for source in sources for name in source.names]
        self.sizes = [size for source in sources for size in source.sizes]
        self.places = [(source, index) for source in sources for index in range(len(source))]

    def read(self, index: int) -> npt.NDArray[np.uint8]:
        source, inner = self.places[index]
        return source.read(inner)

    def shape(self, index: int) -> tuple[int, int] | None:
        source, inner = self.places[index]
        return source.shape(inner)


def open_source(paths: Sequence[Path]) -> ImageSource:
    """The images of folders, tar files and, named ``@FILE``, lists of image files; a folder that holds a ``train.tar`` stands for that file.

    Raises:
        StegoError: a path is missing, or holds no images.
    """
    sources = [_open(path) for path in paths]
    return sources[0] if len(sources) == 1 else JoinedSource(sources)


def _open(path: Path) -> ImageSource:
    if path.suffix.lower() == ".tar" and path.is_file():
        return TarSource(path)
    if path.is_dir() and (path / "train.tar").is_file():
        return TarSource(path / "train.tar")
    if str(path).startswith("@"):
        return FileSource(listed_paths(Path(str(path).removeprefix("@"))))
    return FileSource(find_images(path))


def folder_labels(source: ImageSource) -> tuple[npt.NDArray[np.int64], list[str]]:
    """`kinds_of` the images' names.

    Pretraining looks at them only to show k-NN accuracy while it runs (and `simclrv2` where it is told to fine-tune).
    """
    return kinds_of(source.names)


def kinds_of(names: Sequence[str]) -> tuple[npt.NDArray[np.int64], list[str]]:
    """A number for each file by the name of the folder it lies in, and those names: (N,) int64, 0 to K - 1."""
    parents = [PurePosixPath(Path(name).as_posix()).parent.name for name in names]
    kinds = sorted(set(parents))
    number = {kind: index for index, kind in enumerate(kinds)}
    return np.array([number[parent] for parent in parents], dtype=np.int64), kinds


def data_fingerprint(names: Sequence[str], sizes: Sequence[int]) -> str:
    """16 hex digits over the names and sizes of files: others give another."""
    digest = hashlib.sha256()
    for name, size in zip(names, sizes, strict=True):
        digest.update(os.fsencode(f"{name}:{size}|"))
    return digest.hexdigest()[:16]


def check_sizes(source: ImageSource, side: int, progress: Callable[[str, int, int], None]) -> None:
    """Refuse images smaller than the crop, before hours are spent.

    Raises:
        StegoError: names the first image whose short side is below ``side``.
    """
    for index in range(len(source)):
        shape = source.shape(index)
        if shape is not None and min(shape) < side:
            width, height = shape
            remedy = f"leave it out or choose an --image-size of at most {min(shape)}"
            raise StegoError(f"{source.names[index]}: {width} × {height} pixels, smaller than the crop of {side}; {remedy}")
        if index % 1000 == 999:
            progress("looking at image sizes", index + 1, len(source))


class SourceBank(ImageBank):
    """Decoded images of a source, kept in memory up to ``budget`` bytes; see `ImageBank`."""

    def __init__(self, source: ImageSource, side: int, budget: float) -> None:
        super().__init__([Path(name) for name in source.names], side, budget)
        self.source = source

    def read(self, index: int) -> npt.NDArray[np.uint8]:
        """Image ``index`` of the source."""
        return self.source.read(index)
