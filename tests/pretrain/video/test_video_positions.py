"""Positions in time, rows and columns against naive loops and the property they are for."""

from __future__ import annotations

import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pretrain.video.positions import Grid, Rotation, rotary, sine_cosine


def test_sines_and_cosines_are_those_of_a_naive_loop() -> None:
    grid, dim = Grid(3, 2, 4), 20
    found = sine_cosine(dim, grid)
    share = 2 * math.ceil(dim / 6)
    for index, (time, row, column) in enumerate((t, r, c) for t in range(3) for r in range(2) for c in range(4)):
        wanted = []
        for place in (time, row, column):
            rates = [10000 ** (-i / (share / 2)) for i in range(share // 2)]
            wanted += [math.sin(place * rate) for rate in rates] + [math.cos(place * rate) for rate in rates]
        torch.testing.assert_close(found[index], torch.tensor(wanted[:dim]), atol=1e-6, rtol=0)


@settings(max_examples=15, deadline=None)
@given(st.sampled_from([16, 32, 64]), st.tuples(*[st.integers(0, 2)] * 3), st.integers(0, 2**16))
def test_a_turned_product_depends_on_the_offset_alone(width: int, shift: tuple[int, int, int], seed: int) -> None:
    grid = Grid(5, 5, 5)
    table = rotary(width, grid)
    query, key = torch.randn(2, 1, 1, 1, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)

    def product(one: tuple[int, ...], other: tuple[int, ...]) -> float:
        index = [(t * 5 + r) * 5 + c for t, r, c in (one, other)]
        turned = [Rotation(table.cosine[i : i + 1].double(), table.sine[i : i + 1].double()) for i in index]
        return float((turned[0].turn(query) * turned[1].turn(key)).sum())

    first, second = (0, 1, 2), (2, 2, 0)
    moved = [tuple(a + b for a, b in zip(place, shift, strict=True)) for place in (first, second)]
    assert math.isclose(product(first, second), product(*moved), abs_tol=1e-5)
    other = product(first, (1, 2, 0))
    assert not math.isclose(product(first, second), other, abs_tol=1e-6)


def test_rotary_turns_pairs_by_the_angles_of_their_axis_and_keeps_lengths() -> None:
    grid, width = Grid(2, 3, 4), 32
    vectors = torch.randn(1, 1, 24, width)
    turned = rotary(width, grid).turn(vectors)
    torch.testing.assert_close(turned.norm(dim=-1), vectors.norm(dim=-1))
    pairs = width // 3 // 2
    for index, (time, row, column) in enumerate((t, r, c) for t in range(2) for r in range(3) for c in range(4)):
        angles = [place * 10000 ** (-i / pairs) for place in (time, row, column) for i in range(pairs)] + [0.0] * (width // 2 - 3 * pairs)
        for pair, angle in enumerate(angles):
            x, y = vectors[0, 0, index, 2 * pair : 2 * pair + 2].tolist()
            wanted = [x * math.cos(angle) - y * math.sin(angle), x * math.sin(angle) + y * math.cos(angle)]
            torch.testing.assert_close(turned[0, 0, index, 2 * pair : 2 * pair + 2], torch.tensor(wanted), atol=1e-5, rtol=1e-5)
