"""Several discoveries from other patches and starts, and one answer from them.

Which patches fill the codebook, and where k-means starts, move classes from seed to seed. Of several such draws the one is
kept whose classes agree most with those of the others, and all of them vote on the class of each of its codes; see `consensus`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from models.errors import StegoError
from stego_app.discovery.borders import Cosines, adjacent_cosines, borders
from stego_app.discovery.codebook import nearest_codes, spherical_kmeans
from stego_app.discovery.consensus import medoid, voted
from stego_app.discovery.correspondences import CrossLinks, adjacent_links, cross_image_links, pair_distribution, same_image_pairs
from stego_app.discovery.division import Way, divide, mend
from stego_app.discovery.halves import Half, Split, half_of
from stego_app.discovery.metric import Metric
from stego_app.discovery.pairs import Pairs
from stego_app.discovery.settings import DiscoverySettings
from stego_app.discovery.source import TokenSource, image_numbers

_TOKENS_PER_CODE = 8
_COMPARED_ON = 20_000
"""Patches on which partitions are compared."""
_CHECKED_ON = 20_000
"""Patches of both halves of the images, among which correspondences are counted to check divisions on; more confirm no others."""


@dataclass(frozen=True)
class Bank:
    """The patches that are looked at: ``tokens`` (n, D) projected and unit, ``images`` (n,) the image of each."""

    tokens: torch.Tensor
    images: npt.NDArray[np.int64]


class CodeMaps(NamedTuple):
    """Whole images as maps of codes: ``images`` (i,) the number of each, ``maps`` i of them (h, w) int16, ``cosines`` the `adjacent_cosines` of each."""

    images: npt.NDArray[np.int64]
    maps: list[npt.NDArray[np.int16]]
    cosines: list[Cosines]

    def codes(self) -> npt.NDArray[np.int64]:
        """The code (n,) of each patch of all these images."""
        return np.concatenate([code_map.ravel() for code_map in self.maps]).astype(np.int64)

    def numbers(self) -> npt.NDArray[np.int64]:
        """The number (n,) of the image of each."""
        return np.repeat(self.images, [code_map.size for code_map in self.maps])


@dataclass(frozen=True)
class Draw:
    """One codebook and what was counted on it.

    Attributes:
        rows: (b,) the patches of the bank among which correspondences were looked for.
        book: (M, D) unit.
        codes: (n,) code of each patch of the bank.
        cross: correspondences between images.
        seen: images in which adjacent patches, and patches of one image, were counted.
        pairs: what follows from all that.
    """

    rows: npt.NDArray[np.int64]
    book: torch.Tensor
    codes: torch.Tensor
    cross: CrossLinks
    seen: CodeMaps
    pairs: Pairs

    def split(self, bank: Bank, first: npt.NDArray[np.int64], threshold: float, adjacent_weight: float) -> Split:
        """The images ``first`` and the others: correspondences of `_CHECKED_ON` patches of this draw, compared on whole images."""
        rows = self.rows[:_CHECKED_ON]
        inside, maps_inside = np.isin(bank.images[rows], first), np.isin(self.seen.images, first)
        return Split(
            self._half(bank, rows[inside], maps_inside, threshold, adjacent_weight),
            self._half(bank, rows[~inside], ~maps_inside, threshold, adjacent_weight),
            self.seen.codes(),
            self.seen.numbers(),
        )

    def _half(self, bank: Bank, rows: npt.NDArray[np.int64], maps: npt.NDArray[np.bool_], threshold: float, adjacent_weight: float) -> Half:
        codes, size = self.codes[rows], len(self.book)
        cross = cross_image_links(bank.tokens[rows], bank.images[rows], codes, size, threshold).counts
        own = [self.seen.maps[number] for number in np.flatnonzero(maps)]
        shown = np.bincount(codes.numpy(), minlength=size) > 0
        return half_of(cross, adjacent_links(own, size), same_image_pairs(own, size), adjacent_weight, shown, self.book)


def make_draws(bank: Bank, source: TokenSource, metric: Metric, threshold: float, settings: DiscoverySettings, seed: int) -> Iterator[Draw]:
    """``settings.draws`` draws, each from other patches of the bank where it holds more than ``settings.bank``."""
    rows, books = [], []
    for draw in range(settings.draws):
        random = np.random.default_rng((seed, draw))
        rows.append(random.permutation(len(bank.tokens))[: settings.bank])
        size = max(2, min(settings.codes, len(bank.tokens) // _TOKENS_PER_CODE))
        books.append(spherical_kmeans(bank.tokens[rows[-1]], size, random))
    seen = _code_maps(source, metric, books, settings.adjacent_images, seed)
    for drawn, book, images in zip(rows, books, seen, strict=True):
        codes = nearest_codes(bank.tokens, book)
        cross = cross_image_links(bank.tokens[drawn], bank.images[drawn], codes[drawn], len(book), threshold)
        joint = pair_distribution(cross.counts, adjacent_links(images.maps, len(book)), settings.adjacent_weight)
        yield Draw(drawn, book, codes, cross, images, Pairs(joint, same_image_pairs(images.maps, len(book))))


def _code_maps(source: TokenSource, metric: Metric, books: Sequence[torch.Tensor], images: int, seed: int) -> list[CodeMaps]:
    """The same images as maps of the codes of every codebook: each is read and projected once for all of them."""
    chosen = np.sort(np.random.default_rng(seed).permutation(len(source))[:images])
    numbers = image_numbers(source)[chosen]
    cosines: list[Cosines] = []
    found = [CodeMaps(numbers, [], cosines) for _ in books]
    for index in chosen.tolist():
        tokens = metric.project(source.tokens(index))
        cosines.append(adjacent_cosines(tokens, source.grid(index)))
        for book, code_maps in zip(books, found, strict=True):
            code_maps.maps.append(nearest_codes(tokens, book).numpy().reshape(source.grid(index)).astype(np.int16))
    return found


def classes_of_draws(draws: Sequence[Draw], classes: int, way: Way, fine: int, seed: int) -> tuple[Draw, npt.NDArray[np.int64]]:
    """The draw whose ``classes``, divided in this ``way``, the others agree with most, and the class (M,) of each of its codes by the votes of all.

    Raises:
        StegoError: no draw can be told apart into so many classes.
    """
    found: list[tuple[Draw, npt.NDArray[np.int64]]] = []
    refused: StegoError | None = None
    for number, draw in enumerate(draws):
        try:
            labels = divide(draw.pairs, classes, way, seed + number)
        except StegoError as error:
            refused = error
        else:
            found.append((draw, mend(draw.pairs, borders(draw.seen.maps, draw.seen.cosines, len(draw.book)), labels, way, fine)))
    if not found:
        raise refused or StegoError("no draw to find classes in")
    partitions = [labels[draw.codes.numpy()] for draw, labels in found]
    kept = medoid([partition[:_COMPARED_ON] for partition in partitions])
    draw, labels = found[kept]
    return draw, voted(partitions, kept, labels, draw.codes.numpy())
