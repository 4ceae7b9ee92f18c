"""Losses of masked images (MAE, SimMIM, I-JEPA) against their papers' equations, and the shares and shapes of their masks."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from models.errors import StegoError
from pretrain.methods.ijepa import IJepaOptions, block_masks
from pretrain.methods.mae import painting_loss
from pretrain.methods.simmim import masked_l1, unit_mask
from tests.pretrain.method_parts import CLOSE, COUNT, build, random_batch


@pytest.mark.parametrize("normalise", [False, True])
def test_mae(normalise: bool) -> None:
    rng = np.random.default_rng(0)
    predicted, wanted = rng.normal(size=(2, 2, 3, 12))
    naive = []
    for image in range(2):
        for patch in range(3):
            target = wanted[image, patch]
            if normalise:
                target = (target - target.mean()) / math.sqrt(target.var(ddof=1) + 1e-6)
            naive.append(((predicted[image, patch] - target) ** 2).mean())
    found = painting_loss(torch.from_numpy(predicted), torch.from_numpy(wanted), normalise)
    assert float(found) == pytest.approx(np.mean(naive), **CLOSE)


def test_mae_sees_a_quarter_and_paints_the_rest_in_place() -> None:
    method: Any = build("mae", width=16, decoder_depth=1, heads=2)
    seen: list[int] = []
    method.encoder.vit.vit.blocks[0].register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0].shape[1]))
    loss = method(random_batch(views=1)).loss
    assert seen == [1 + 4]
    loss.backward()
    # A patch that is kept is at its own place in the decoder: exchanging two kept patches must not change what is painted.
    kept, masked = torch.tensor([[0, 3, 5, 9]]), torch.tensor([[i for i in range(16) if i not in (0, 3, 5, 9)]])
    tokens = torch.randn(1, 5, 192)
    swapped = tokens[:, [0, 2, 1, 3, 4]]
    torch.testing.assert_close(method._paint(tokens, kept, masked), method._paint(swapped, kept[:, [1, 0, 2, 3]], masked))


def test_simmim() -> None:
    rng = np.random.default_rng(0)
    predicted, wanted = rng.normal(size=(2, 2, 4, 3))
    mask = np.array([[True, False, True, False], [False, False, False, True]])
    total = sum(abs(predicted[b, n, k] - wanted[b, n, k]) for b in range(2) for n in range(4) for k in range(3) if mask[b, n])
    assert float(masked_l1(torch.from_numpy(predicted), torch.from_numpy(wanted), torch.from_numpy(mask))) == pytest.approx(total / (3 * 3), **CLOSE)


def test_simmims_masks_are_whole_squares_of_the_asked_share() -> None:
    mask = unit_mask(5, 4, 3, 0.6, torch.device("cpu")).view(5, 4, 3, 4, 3)
    squares = mask.permute(0, 1, 3, 2, 4).flatten(3)
    assert bool((squares.all(-1) == squares.any(-1)).all())
    assert squares.any(-1).sum((1, 2)).tolist() == [10] * 5  # ceil(0.6 · 16)
    with pytest.raises(StegoError, match=r"mask_unit.*12 pixels"):
        build("simmim", mask_unit=12)


def test_simmims_encoder_does_not_see_masked_pixels() -> None:
    method: Any = build("simmim", mask_unit=8).eval()
    images = random_batch(views=1).views[0]
    mask = torch.zeros(COUNT, 16, dtype=torch.bool)
    mask[:, 0] = True
    changed = images.clone()
    changed[:, :, :8, :8] = 255 - changed[:, :, :8, :8]
    torch.testing.assert_close(method.encoder(images, mask=mask), method.encoder(changed, mask=mask))


def test_ijepa() -> None:
    method: Any = build("ijepa", predictor_depth=1)
    batch = random_batch(views=1)
    torch.manual_seed(7)
    context, targets = block_masks(COUNT, 4, method.settings)
    seen = method.encoder(batch.views[0], keep=context)[:, 1:]
    predicted = method.predictor(seen, context, targets).detach().double().numpy()
    whole = method.target(batch.views[0])[:, 1:].double().numpy()
    normed = (whole - whole.mean(-1, keepdims=True)) / np.sqrt(whole.var(-1, keepdims=True) + 1e-5)
    errors = []
    for number, block in enumerate(targets):
        for image in range(COUNT):
            for place, patch in enumerate(block[image].tolist()):
                errors.append(((predicted[number * COUNT + image, place] - normed[image, patch]) ** 2).mean())
    torch.manual_seed(7)
    assert float(method(batch).loss.detach()) == pytest.approx(np.mean(errors), **CLOSE)


def test_ijepas_blocks_are_rectangles_and_the_context_avoids_them() -> None:
    method: Any = build("ijepa")
    torch.manual_seed(0)
    context, targets = block_masks(6, 14, method.settings)
    assert len(targets) == 4
    for image in range(6):
        hidden = set()
        for block in targets:
            patches = block[image]
            rows, columns = patches // 14, patches % 14
            height, width = int(rows.max() - rows.min()) + 1, int(columns.max() - columns.min()) + 1
            assert height * width == len(set(patches.tolist()))
            assert 0.13 < height * width / 196 < 0.23
            assert 0.6 < height / width < 1.7
            hidden |= set(patches.tolist())
        assert not hidden & set(context[image].tolist())
        assert len(set(context[image].tolist())) == context.shape[1] >= 196 // 16


@pytest.mark.parametrize("grid", [4, 5, 6])
def test_ijepas_context_is_never_empty_on_small_grids(grid: int) -> None:
    for seed in range(6):
        torch.manual_seed(seed)
        context, targets = block_masks(128, grid, IJepaOptions())
        assert context.shape[1] >= 4
        assert not any(set(context[image].tolist()) & set(torch.cat([block[image] for block in targets]).tolist()) for image in range(128))


def test_ijepas_targets_that_cover_everything_are_refused() -> None:
    with pytest.raises(StegoError, match="leave no context to predict them from"):
        block_masks(2, 4, IJepaOptions(targets=8, target_scale=(1.0, 1.0), target_aspect=(1.0, 1.0)))
