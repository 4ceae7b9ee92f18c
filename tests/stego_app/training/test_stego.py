"""Training: it finds known classes, gives the same bits twice and after an interruption, and says what is impossible."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy.optimize import linear_sum_assignment

from models.correspondence import correspondence_loss
from models.errors import StegoError
from stego_app.features.cache import FeatureCache
from stego_app.training.stego import StegoConfig, StegoResult, codes_of, train_stego

QUICK = StegoConfig(steps=8, batch=4, side=4, code_dim=6, save_every=3, randoms=2)


def same_bits(one: StegoResult, other: StegoResult) -> bool:
    heads = zip(one.head.state_dict().values(), other.head.state_dict().values(), strict=True)
    return np.array_equal(one.clusters, other.clusters) and all(torch.equal(a, b) for a, b in heads) and one.losses == other.losses


def predicted(result: StegoResult, cache: FeatureCache) -> list[npt.NDArray[np.int64]]:
    return [(codes_of(result.head, cache.tokens(i).astype(np.float32)) @ result.clusters.T).argmax(1) for i in range(len(cache))]


def test_finds_the_classes_of_clustered_features(clustered_cache: Callable[..., Any]) -> None:
    cache, truth = clustered_cache(images=20)
    config = StegoConfig(steps=120, batch=8, side=6, code_dim=8, head_rate=5e-3, probe_rate=2e-2, randoms=2)
    result = train_stego(cache, 3, config)
    found, real = np.concatenate(predicted(result, cache)), np.concatenate([label.reshape(-1) for label in truth])
    counts = np.histogram2d(real, found, bins=(np.arange(4), np.arange(4)))[0]
    rows, columns = linear_sum_assignment(counts, maximize=True)
    assert counts[rows, columns].sum() / len(real) > 0.97
    np.testing.assert_allclose(np.linalg.norm(result.clusters, axis=1), 1, atol=1e-5)


def test_same_seed_same_bits_and_another_seed_others(clustered_cache: Callable[..., Any]) -> None:
    cache, _ = clustered_cache()
    first = train_stego(cache, 3, QUICK, seed=1)
    torch.rand(5)  # the global generator must not matter
    assert same_bits(first, train_stego(cache, 3, QUICK, seed=1))
    assert not same_bits(first, train_stego(cache, 3, QUICK, seed=2))


def test_training_leaves_the_global_generator_alone(clustered_cache: Callable[..., Any]) -> None:
    cache, _ = clustered_cache()
    before = torch.random.get_rng_state()
    train_stego(cache, 3, QUICK)
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize("stop_at", [3, 5])
def test_an_interrupted_run_ends_with_the_same_bits(stop_at: int, clustered_cache: Callable[..., Any], tmp_path: Path) -> None:
    cache, _ = clustered_cache()
    whole = train_stego(cache, 3, QUICK)

    def stop(_stage: str, done: int, _steps: int) -> None:
        if done == stop_at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_stego(cache, 3, QUICK, state_folder=tmp_path / "state", progress=stop)
    seen: list[int] = []
    resumed = train_stego(cache, 3, QUICK, state_folder=tmp_path / "state", progress=lambda _s, done, _n: seen.append(done))
    assert seen == list(range(stop_at + 1, QUICK.steps + 1))
    assert same_bits(resumed, whole)
    assert list((tmp_path / "state").iterdir()) == []


def test_a_run_interrupted_inside_a_step_ends_with_the_same_bits(clustered_cache: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache, _ = clustered_cache()
    whole = train_stego(cache, 3, QUICK)
    calls: list[int] = []

    def interrupted(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 5 * (2 + QUICK.randoms) + 1:  # in the sixth step, when its images and places are drawn
            raise KeyboardInterrupt
        return correspondence_loss(*arguments)

    monkeypatch.setattr("stego_app.training.stego.correspondence_loss", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train_stego(cache, 3, QUICK, state_folder=tmp_path / "state")
    monkeypatch.undo()
    resumed = train_stego(cache, 3, QUICK, state_folder=tmp_path / "state")
    assert same_bits(resumed, whole)


def test_a_run_killed_between_saves_goes_on_from_the_last(clustered_cache: Callable[..., Any], tmp_path: Path) -> None:
    cache, _ = clustered_cache()

    def die(_stage: str, done: int, _steps: int) -> None:
        if done == 5:
            raise RuntimeError("stands for kill -9: nothing is saved on the way out")

    with pytest.raises(RuntimeError, match="kill -9"):
        train_stego(cache, 3, QUICK, state_folder=tmp_path / "state", progress=die)
    seen: list[int] = []
    resumed = train_stego(cache, 3, QUICK, state_folder=tmp_path / "state", progress=lambda _s, done, _n: seen.append(done))
    assert seen[0] == 4
    assert same_bits(resumed, train_stego(cache, 3, QUICK))


def test_a_state_is_not_taken_by_another_run(clustered_cache: Callable[..., Any], tmp_path: Path) -> None:
    cache, _ = clustered_cache()

    def stop(_stage: str, done: int, _steps: int) -> None:
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_stego(cache, 3, QUICK, state_folder=tmp_path / "state", progress=stop)
    for options in ({"seed": 5}, {"config": QUICK.model_copy(update={"shifts": "potsdam"})}):
        seen: list[int] = []
        train_stego(cache, 3, **{"config": QUICK, "state_folder": tmp_path / "state", "progress": lambda _s, done, _n, seen=seen: seen.append(done), **options})
        assert seen[0] == 1
    assert len(list((tmp_path / "state").iterdir())) == 1


def test_a_damaged_state_is_refused(clustered_cache: Callable[..., Any], tmp_path: Path) -> None:
    cache, _ = clustered_cache()

    def stop(_stage: str, done: int, _steps: int) -> None:
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_stego(cache, 3, QUICK, state_folder=tmp_path, progress=stop)
    [state] = tmp_path.glob("stego-*.state.safetensors")
    data = bytearray(state.read_bytes())
    data[-5] ^= 0xFF
    state.write_bytes(data)
    with pytest.raises(StegoError, match=r"do not match the checksum.*; delete it to start again"):
        train_stego(cache, 3, QUICK, state_folder=tmp_path)


def test_fewer_images_than_a_batch_or_neighbours(clustered_cache: Callable[..., Any]) -> None:
    cache, _ = clustered_cache(images=2)
    assert len(train_stego(cache, 3, QUICK).losses["self"]) == QUICK.steps
    single, _ = clustered_cache(images=1)
    with pytest.raises(StegoError, match="at least 2 images"):
        train_stego(single, 3, QUICK)


@pytest.mark.parametrize(("classes", "message"), [(0, "classes 0"), (10_000, "10000 clusters from")])
def test_impossible_numbers_of_classes(classes: int, message: str, clustered_cache: Callable[..., Any]) -> None:
    cache, _ = clustered_cache(images=4)
    with pytest.raises(StegoError, match=message):
        train_stego(cache, classes, QUICK)
