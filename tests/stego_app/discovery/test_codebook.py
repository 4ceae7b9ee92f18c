from __future__ import annotations

import numpy as np
import torch
from torch.nn.functional import normalize

from stego_app.discovery.codebook import nearest_codes, spherical_kmeans, sum_by_code


def blobs(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    random = np.random.default_rng(seed)
    label = random.integers(5, size=400)
    tokens = np.eye(8)[label] + 0.05 * random.normal(size=(400, 8))
    return normalize(torch.from_numpy(tokens).float(), dim=1), torch.from_numpy(label)


def test_finds_separate_blobs() -> None:
    tokens, label = blobs()
    book = spherical_kmeans(tokens, 5, np.random.default_rng(0))
    codes = nearest_codes(tokens, book)
    assert len({(int(a), int(b)) for a, b in zip(codes, label, strict=True)}) == 5
    np.testing.assert_allclose(book.norm(dim=1).numpy(), 1, atol=1e-6)


def test_same_seed_gives_the_same_bits() -> None:
    tokens, _ = blobs(1)
    first, second = (spherical_kmeans(tokens, 20, np.random.default_rng(3)) for _ in range(2))
    assert torch.equal(first, second)


def test_gives_fewer_centroids_where_there_are_fewer_distinct_tokens() -> None:
    tokens = torch.eye(4)[torch.arange(100) % 3]
    assert len(spherical_kmeans(tokens, 10, np.random.default_rng(0))) == 3


def test_of_several_starts_the_nearest_is_kept() -> None:
    tokens, _ = blobs(3)
    singles = [spherical_kmeans(tokens, 9, random, iterations=2) for random in [np.random.default_rng(4)] for _ in range(4)]
    cosines = [float((tokens @ book.T).amax(1).mean()) for book in singles]
    best = spherical_kmeans(tokens, 9, np.random.default_rng(4), iterations=2, starts=4)
    assert torch.equal(best, singles[int(np.argmax(cosines))])
    assert max(cosines) > min(cosines)


def test_sums_and_nearest_codes_match_a_loop() -> None:
    tokens, _ = blobs(2)
    book = spherical_kmeans(tokens, 7, np.random.default_rng(1))
    codes = nearest_codes(tokens, book, chunk=33)
    for token, code in zip(tokens, codes, strict=True):
        assert int(code) == int(np.argmax([float(token @ entry) for entry in book]))
    expected = np.zeros((9, 8), np.float64)
    for token, code in zip(tokens.numpy(), codes.numpy(), strict=True):
        expected[code] += token
    np.testing.assert_allclose(sum_by_code(tokens, codes, 9).numpy(), expected, atol=1e-4)
