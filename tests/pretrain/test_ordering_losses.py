"""NeCo's differentiable ordering of patch neighbours against sorting and a naive loop."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from pretrain.methods.neco import align, common_regions, ordering_loss, similarities, soft_order
from tests.pretrain.method_parts import CLOSE, build, random_batch, softmax, unit


def test_neurosort_orders() -> None:
    scores = torch.tensor([[0.3, 0.9, -0.2, 0.5], [4.0, 3.0, 2.0, 1.0]], dtype=torch.float64)
    sharp = soft_order(scores, 1e-3)
    torch.testing.assert_close((sharp @ scores[:, :, None])[..., 0], scores.sort(dim=1, descending=True).values)
    soft = soft_order(scores, 0.7)
    torch.testing.assert_close(soft.sum(-1), torch.ones(2, 4, dtype=torch.float64))
    for m in range(2):
        s = scores[m].numpy()
        for i in range(4):
            row = softmax(np.array([((4 + 1 - 2 * (i + 1)) * s[j] - np.abs(s[j] - s).sum()) / 0.7 for j in range(4)]))
            np.testing.assert_allclose(soft[m, i].numpy(), row, rtol=1e-6)


def test_neco() -> None:
    rng = np.random.default_rng(0)
    patches, references = torch.from_numpy(rng.normal(size=(2, 3, 5))), torch.from_numpy(rng.normal(size=(4, 5)))
    cosines = similarities(patches, references).numpy()
    assert cosines[4, 2] == pytest.approx(unit(patches)[1, 1] @ unit(references)[2])
    found, wanted = soft_order(torch.from_numpy(rng.normal(size=(3, 4))), 0.5), soft_order(torch.from_numpy(rng.normal(size=(3, 4))), 0.5)
    naive = -np.mean([sum(float(w) * math.log(float(f)) for f, w in zip(found[m, i], wanted[m, i], strict=True)) for m in range(3) for i in range(4)])
    assert float(ordering_loss(found, wanted)) == pytest.approx(naive, **CLOSE)


def test_neco_compares_the_same_places_of_two_views() -> None:
    """Features that are the image's coordinates: where two views overlap they must agree, mirrored or not."""
    boxes = torch.tensor([[[0.0, 0.1, 0.8, 0.9]], [[0.2, 0.0, 1.0, 0.7]]])
    for flips in ([False, False], [True, False], [False, True], [True, True]):
        mirrored = torch.tensor(flips)[:, None]
        aligned = []
        regions, shared = common_regions(boxes, mirrored)
        for view in (0, 1):
            left, top, right, bottom = boxes[view, 0].tolist()
            x = left + (right - left) * (torch.arange(64) + 0.5) / 64
            y = top + (bottom - top) * (torch.arange(64) + 0.5) / 64
            features = torch.stack([x.expand(64, 64), y[:, None].expand(64, 64)])[None]
            features = features.flip(-1) if flips[view] else features
            aligned.append(align(features, regions[view], mirrored[view], 4))
        assert shared.tolist() == [True]
        torch.testing.assert_close(aligned[0], aligned[1], rtol=0, atol=0.01)
        assert aligned[0][0, 0].tolist() == pytest.approx([0.2 + 0.6 / 8, 0.1 + 0.6 / 8], abs=0.01)


def test_neco_trains_only_the_student(tmp_path: Any) -> None:
    from models.backbone import save_backbone

    path = tmp_path / "start.safetensors"
    save_backbone(path, build("simclr").encoder.backbone("simclr", "test"), precision="fp32")
    method: Any = build("neco", fields={"init": str(path), "patch_size": None, "depth": None}, grid=3)
    loss = method(random_batch()).loss
    loss.backward()
    assert math.isfinite(float(loss.detach()))
    assert method.encoder.network.blocks[0].mlp.fc1.weight.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in method.teacher.parameters())
