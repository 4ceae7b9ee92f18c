"""The mean field in torch against the one in NumPy, on each device there is, and the lattice under it against its definition."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_mean_field import many_classes, photographs, two_regions

from models.errors import StegoError
from stego_app.crf import CrfSettings, refine
from stego_app.crf.lattice import build_lattice
from stego_app.crf.torch_lattice import build_torch_lattice
from stego_app.segmenter import Segmenter

ENGINES = ["torch", pytest.param("torch:cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))]


# The same examples in each run: a point on the very border of two simplices, which rounding may put into either, is rare but no defect.
@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(1, 60), st.integers(1, 5), st.floats(0.1, 50), st.integers(0, 10_000))
def test_the_lattice_is_that_of_numpy(points: int, dimensions: int, spread: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    features = random.normal(0, spread, (dimensions, points)).astype(np.float32)
    values = random.random((points, 3)).astype(np.float32)
    for ours, theirs in (
        (build_torch_lattice(torch.from_numpy(features)), build_lattice(features)),
        (build_torch_lattice(torch.from_numpy(features)).normalised(), build_lattice(features).normalised()),
    ):
        np.testing.assert_allclose(ours.apply(torch.from_numpy(values)), theirs.apply(values), rtol=1e-3, atol=1e-4)


def test_points_of_one_value_share_a_vertex() -> None:
    lattice = build_torch_lattice(torch.zeros(5, 40))
    filtered = lattice.normalised().apply(torch.arange(40.0)[:, None])
    np.testing.assert_allclose(filtered, np.full((40, 1), 19.5), rtol=1e-5)


def test_points_too_far_apart_are_refused() -> None:
    with pytest.raises(ValueError, match="larger standard deviations"):
        build_torch_lattice(torch.tensor([[0, 1e6]] * 5))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("classes", [2, 7, 27])
def test_photographs_get_the_same_labels(engine: str, classes: int) -> None:
    for seed, image in enumerate(photographs()):
        probabilities = many_classes(image, classes, seed)
        ours, numpy = (refine(image, probabilities, engine=name) for name in (engine, "mean-field"))
        assert np.abs(ours - numpy).mean() < 1e-5
        np.testing.assert_allclose(ours, numpy, atol=0.05)
        assert (ours.argmax(0) == numpy.argmax(0)).mean() > 0.9995
        # The test would be empty if the CRF did nothing.
        assert (ours.argmax(0) != probabilities.argmax(0)).mean() > 0.003


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    "options",
    [{"iterations": 0}, {"spatial_weight": 0}, {"bilateral_weight": 0}, {"spatial_sigma": 30.0}, {"bilateral_sigma_rgb": 40.0, "bilateral_sigma_xy": 5.0}],
)
def test_other_settings_too(engine: str, options: dict[str, float]) -> None:
    image, _, probabilities = two_regions(40, 52)
    ours, numpy = (refine(image, probabilities, CrfSettings(**options), engine=name) for name in (engine, "mean-field"))
    np.testing.assert_allclose(ours, numpy, atol=2e-3)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("size", [(1, 1), (1, 30), (30, 1), (2, 3)])
def test_images_of_a_pixel_or_a_line(engine: str, size: tuple[int, int]) -> None:
    random = np.random.default_rng(0)
    image, probabilities = random.integers(0, 255, (*size, 3)).astype(np.uint8), random.dirichlet(np.ones(3), size).transpose(2, 0, 1).astype(np.float32)
    ours, numpy = (refine(image, probabilities, engine=name) for name in (engine, "mean-field"))
    np.testing.assert_allclose(ours, numpy, atol=1e-3)


@pytest.mark.parametrize("engine", ENGINES)
def test_the_same_input_gives_the_same_bits(engine: str) -> None:
    image, _, probabilities = two_regions(40, 50)
    assert refine(image, probabilities, engine=engine).tobytes() == refine(image, probabilities, engine=engine).tobytes()


def test_a_device_that_is_not_there_gets_one_line() -> None:
    image, _, probabilities = two_regions(10, 12)
    with pytest.raises(StegoError, match="torch:nowhere") as caught:
        refine(image, probabilities, engine="torch:nowhere")
    assert "\n" not in str(caught.value)


def test_the_crf_is_where_the_backbone_is(monkeypatch: pytest.MonkeyPatch) -> None:
    segmenter = Segmenter.load("default", device="cpu")
    assert segmenter.crf_engine == "auto"
    monkeypatch.setattr(segmenter, "device", torch.device("cuda", 1))
    assert segmenter.crf_engine == "torch:cuda:1"
