from __future__ import annotations

import numpy as np
import torch
from torch.nn.functional import normalize

from stego_app.discovery.distil_head import distil_head
from stego_app.discovery.settings import DiscoverySettings


def problem() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    random = np.random.default_rng(0)
    codes = torch.from_numpy(random.integers(6, size=500))
    tokens = normalize(torch.eye(6, 10)[codes] + 0.03 * torch.from_numpy(random.normal(size=(500, 10))).float(), dim=1)
    return tokens, codes, normalize(torch.from_numpy(random.normal(size=(6, 4))).float(), dim=1)


def test_head_learns_the_vector_of_each_code() -> None:
    tokens, codes, vectors = problem()
    head, cosines = distil_head(tokens, codes, vectors, DiscoverySettings(steps=120, batch=64, rate=2e-2), seed=0)
    with torch.inference_mode():
        learnt = normalize(head(tokens * 10**0.5), dim=1)
    assert float((learnt * vectors[codes]).sum(1).mean()) > 0.97
    assert cosines[-1] > cosines[0]
    assert len(cosines) == 120


def test_same_seed_gives_the_same_bits_and_leaves_the_global_generator_alone() -> None:
    tokens, codes, vectors = problem()
    settings = DiscoverySettings(steps=5, batch=16)
    before = torch.random.get_rng_state()
    first, second = (distil_head(tokens, codes, vectors, settings, seed=4)[0].state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert torch.equal(before, torch.random.get_rng_state())


def test_one_step_is_enough_to_run() -> None:
    tokens, codes, vectors = problem()
    assert len(distil_head(tokens, codes, vectors, DiscoverySettings(steps=1, batch=4), seed=0)[1]) == 1
