"""Losses on prototypes (SwAV, DINO, iBOT, DINOv2) against their papers' equations, computed in NumPy without their code."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import entr, logsumexp, ndtr

from models.errors import StegoError
from pretrain.methods.assignments import centred, crossed, masked_patches
from pretrain.methods.ibot import IbotOptions, block_mask
from pretrain.schedules import Clock
from tests.pretrain.method_parts import CLOSE, COUNT, build, random_batch, softmax, unit


def _sinkhorn(scores: np.ndarray, epsilon: float, iterations: int) -> np.ndarray:
    """SwAV's equation 5: scale rows (prototypes) and columns (samples) of exp(scores / epsilon) in turn."""
    q = np.exp(scores.T / epsilon)
    prototypes, samples = q.shape
    for _ in range(iterations):
        q = q / q.sum(1, keepdims=True) / prototypes
        q = q / q.sum(0, keepdims=True) / samples
    return np.asarray((q * samples).T)


def test_swav() -> None:
    options = {"hidden": 16, "projection": 8, "prototypes": 5, "local_crops": 2, "local_size": 16, "queue": 4, "queue_from": 0.1}
    method: Any = build("swav", **options)
    batch = random_batch(local=2)
    method(random_batch(local=2, seed=5))  # fills the queue
    queue = method.queue.clone()
    with torch.no_grad():
        z = unit(torch.cat([method.head(method.pooled(group.flatten(0, 1))) for group in (batch.views, batch.local)]))
    prototypes = unit(method.prototypes.weight)
    views = np.split(z @ prototypes.T, 4)
    naive = 0.0
    for i in (0, 1):
        joined = np.concatenate([views[i], queue[i].double().numpy() @ prototypes.T])
        q = _sinkhorn(joined, 0.05, 3)[:COUNT]
        for v in range(4):
            if v != i:
                logs = views[v] / 0.1 - logsumexp(views[v] / 0.1, axis=1, keepdims=True)
                naive += -(q * logs).sum(1).mean() / 3 / 2
    assert float(method(batch).loss.detach()) == pytest.approx(naive, rel=2e-5)
    newest = torch.nn.functional.normalize(method.head(method.pooled(batch.views[0])), dim=1)
    assert method.queue.shape == (2, 4, 8)
    assert newest.shape == (COUNT, 8)
    assert not torch.equal(method.queue, queue)


def test_sinkhorn_shares_prototypes_evenly() -> None:
    logits = torch.nn.functional.normalize(torch.randn(40, 16), dim=1) @ torch.nn.functional.normalize(torch.randn(8, 16), dim=1).T
    answers = centred(logits, 0.1, 60)
    torch.testing.assert_close(answers.sum(1), torch.ones(40))
    torch.testing.assert_close(answers.sum(0), torch.full((8,), 5.0), rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(centred(logits, 0.07, 3).numpy(), _sinkhorn(logits.double().numpy(), 0.07, 3), rtol=1e-4, atol=1e-6)


def _dino(targets: list[np.ndarray], found: list[np.ndarray], temperature: float) -> float:
    """Mean over pairs of different views and images of the cross-entropy, DINO's equations 1 and 3."""
    terms = []
    for i, p in enumerate(targets):
        for j, s in enumerate(found):
            if i != j:
                terms += [-float(p[n] @ np.log(softmax(s[n] / temperature))) for n in range(len(p))]
    return float(np.mean(terms))


DINO = {"hidden": 16, "bottleneck": 4, "prototypes": 7, "local_crops": 2, "local_size": 16}


def test_dino() -> None:
    method: Any = build("dino", center_momentum=0.9, **DINO)
    batch = random_batch(local=2)
    method.criterion.center.copy_(0.1 * torch.randn(1, 1, 7))
    center = method.criterion.center.double().numpy()[0]
    with torch.no_grad():
        wanted = method.teacher_head(method.teacher(batch.views.flatten(0, 1))[:, 0]).double().numpy()
        found = [method.head(method.encoder(one)[:, 0]).double().numpy() for one in (*batch.views, *batch.local)]
    targets = [softmax((one - center) / 0.07) for one in np.split(wanted, 2)]  # step 50 of 100 is past the temperature's warm-up
    step = method(batch)
    assert float(step.loss.detach()) == pytest.approx(_dino(targets, found, 0.1), **CLOSE)
    np.testing.assert_allclose(method.criterion.center.numpy()[0], 0.9 * center + 0.1 * wanted.mean(0), rtol=1e-4, atol=1e-6)
    assert step.logs["teacher_entropy"] == pytest.approx(np.mean([entr(one).sum(1) for one in targets]) / math.log(7), rel=1e-4)
    with pytest.raises(StegoError, match="teacher_temperature"):
        build("dino", teacher_temperature=0.2)


@pytest.mark.parametrize("name", ["dino", "ibot"])
def test_centering_by_sinkhorn(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    method: Any = build(name, centering="sinkhorn", **DINO)
    batch, mask = random_batch(local=2), torch.zeros(2 * COUNT, 4, 4, dtype=torch.bool)
    mask[0, 1:3, 1:3] = True
    monkeypatch.setattr("pretrain.methods.ibot.block_mask", lambda *_: mask)
    images, flat = batch.views.flatten(0, 1), mask.flatten(1)
    with torch.no_grad():
        tokens, seen = method.encoder(images, mask=flat) if name == "ibot" else method.encoder(images), method.teacher(images)
        targets = _sinkhorn(method.teacher_head(seen[:, 0]).double().numpy(), 0.07, 3)
        found = [one.double().numpy() for one in method.head(tokens[:, 0]).chunk(2)]
        found += [method.head(method.encoder(one)[:, 0]).double().numpy() for one in batch.local]
        patches, patch_targets = method.head(tokens[:, 1:][flat]).double().numpy(), method.teacher_head(seen[:, 1:][flat]).double().numpy()
    step = method(batch)
    expected = _dino(np.split(targets, 2), found, 0.1)
    if name == "ibot":
        assert step.logs["image_loss"] == pytest.approx(expected, rel=5e-5)
        expected += _masked_patches(_sinkhorn(patch_targets, 0.07, 3), patches, flat.numpy(), 2 * COUNT)
    assert float(step.loss.detach()) == pytest.approx(expected, rel=5e-5)
    assert step.logs["teacher_marginal"] == pytest.approx(1, abs=0.03)


def test_dinos_last_layer_is_fixed_at_first() -> None:
    for step, fixed in ((0, True), (50, False)):
        method: Any = build("dino", step=step, **DINO)
        method(random_batch(local=2)).loss.backward()
        method.before_step()
        assert all((parameter.grad is None) == (fixed or not parameter.requires_grad) for parameter in method.head.last_layer.parameters())


@pytest.mark.parametrize(("name", "heads"), [("dino", ("head", "teacher_head")), ("dinov2", ("heads.patch", "teacher_heads.patch"))])
def test_a_head_with_batch_norm_judges_images_by_the_others_of_their_batch(name: str, heads: tuple[str, str]) -> None:
    method: Any = build(name, batch_norm=True, **DINO)
    tokens = torch.randn(6, method.encoder.dim)
    for path in heads:
        head: Any = method.get_submodule(path)
        inner: Any = getattr(head, "module", head)
        weights = [one.double().numpy() for one in inner.state_dict().values() if one.ndim == 2]
        x = tokens.double().numpy()
        for matrix in weights[:2]:  # no bias; batch norm of scale 1 and shift 0; GELU
            x = x @ matrix.T
            x = (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5)
            x = x * ndtr(x)
        x = x @ weights[2].T
        x /= np.linalg.norm(x, axis=1, keepdims=True)
        expected = x @ unit(torch.from_numpy(weights[-1])).T
        np.testing.assert_allclose(head(tokens).detach().double().numpy(), expected, atol=2e-5)


def test_patches_that_are_normalised_by_each_other_are_two_at_least() -> None:
    for grid in (2, 4, 14):
        options = IbotOptions(batch_norm=True, least=0.0, most=0.5, masked_images=0.01)
        assert all(int(block_mask(4, grid, options).sum()) >= 2 for _ in range(30))


def _masked_patches(targets: np.ndarray, found: np.ndarray, mask: np.ndarray, images: int) -> float:
    """iBOT's equation 3: within an image the mean over its masked patches, then the mean over ``images``."""
    total, place = 0.0, 0
    for image in range(len(mask)):
        count = int(mask[image].sum())
        for _ in range(count):
            total += -float(targets[place] @ np.log(softmax(found[place] / 0.1))) / count
            place += 1
    return total / images


def test_ibot(monkeypatch: pytest.MonkeyPatch) -> None:
    method: Any = build("ibot", **DINO)
    batch = random_batch(local=2)
    mask = torch.zeros(2 * COUNT, 4, 4, dtype=torch.bool)
    mask[0, 1:3, 1:3] = True
    mask[5, 0] = True
    mask[5, 1, 2] = True
    monkeypatch.setattr("pretrain.methods.ibot.block_mask", lambda *_: mask)
    images, flat = batch.views.flatten(0, 1), mask.flatten(1)
    with torch.no_grad():
        tokens, seen = method.encoder(images, mask=flat), method.teacher(images)
        wanted = method.teacher_head(seen[:, 0]).double().numpy()
        found = [one.double().numpy() for one in method.head(tokens[:, 0]).chunk(2)]
        found += [method.head(method.encoder(one)[:, 0]).double().numpy() for one in batch.local]
        patches, patch_targets = method.head(tokens[:, 1:][flat]).double().numpy(), method.teacher_head(seen[:, 1:][flat]).double().numpy()
    step = method(batch)
    wanted, patch_targets = wanted - wanted.mean(0), patch_targets - patch_targets.mean(0)  # the centres start at the first answers
    assert step.logs["image_loss"] == pytest.approx(_dino([softmax(one / 0.07) for one in np.split(wanted, 2)], found, 0.1), **CLOSE)
    assert step.logs["patch_loss"] == pytest.approx(_masked_patches(softmax(patch_targets / 0.07), patches, flat.numpy(), 2 * COUNT), **CLOSE)
    assert float(step.loss.detach()) == pytest.approx(step.logs["image_loss"] + step.logs["patch_loss"], rel=1e-5)


def test_dinov2(monkeypatch: pytest.MonkeyPatch) -> None:
    method: Any = build("dinov2", **DINO)
    batch = random_batch(local=2)
    mask = torch.zeros(2 * COUNT, 4, 4, dtype=torch.bool)
    mask[0, 1:3, 1:3] = True
    mask[5, 0] = True
    monkeypatch.setattr("pretrain.methods.dinov2.block_mask", lambda *_: mask)
    images, flat = batch.views.flatten(0, 1), mask.flatten(1)
    with torch.no_grad():
        tokens, seen = method.encoder(images, mask=flat), method.teacher(images)
        targets = _sinkhorn(method.teacher_heads["image"](seen[:, 0]).double().numpy(), 0.07, 3)
        patch_targets = _sinkhorn(method.teacher_heads["patch"](seen[:, 1:][flat]).double().numpy(), 0.07, 3)
        found = [one.double().numpy() for one in method.heads["image"](tokens[:, 0]).chunk(2)]
        found += [method.heads["image"](method.encoder(one)[:, 0]).double().numpy() for one in batch.local]
        patches = method.heads["patch"](tokens[:, 1:][flat]).double().numpy()
    koleo = 0.0
    for view in np.split(unit(tokens[:, 0]), 2):  # KoLeo: minus the mean log distance to the nearest other image
        koleo -= np.mean([math.log(min(np.linalg.norm(view[i] - view[j]) for j in range(COUNT) if j != i)) for i in range(COUNT)])
    step = method(batch)
    assert step.logs["image_loss"] == pytest.approx(_dino(np.split(targets, 2), found, 0.1), rel=5e-5)
    assert step.logs["patch_loss"] == pytest.approx(_masked_patches(patch_targets, patches, flat.numpy(), 2), rel=5e-5)
    assert step.logs["koleo"] == pytest.approx(koleo, rel=1e-4)
    assert float(step.loss.detach()) == pytest.approx(step.logs["image_loss"] + step.logs["patch_loss"] + 0.1 * step.logs["koleo"], rel=1e-5)


def test_dinov2_losses_on_small_tensors() -> None:
    rng = np.random.default_rng(0)
    targets, found = softmax(rng.normal(size=(2, 3, 5))), rng.normal(size=(4, 3, 5))
    tensors = [torch.from_numpy(one) for one in targets], [torch.from_numpy(one) for one in found]
    assert float(crossed(*tensors, 0.1)) == pytest.approx(_dino(list(targets), list(found), 0.1), **CLOSE)
    mask = np.array([[True, True, False], [False, False, False], [False, False, True]])
    flat, logits = softmax(rng.normal(size=(3, 5))), rng.normal(size=(3, 5))
    value = masked_patches(torch.from_numpy(flat), torch.from_numpy(logits), torch.from_numpy(mask), 0.1)
    assert float(value) == pytest.approx(_masked_patches(flat, logits, mask, 2), **CLOSE)


def test_dinov2s_last_stage_has_larger_crops_and_smaller_batches() -> None:
    method: Any = build("dinov2", high_resolution=64, high_resolution_share=0.1)
    config, kind = build_config(), type(method)
    early, late = (kind.plan_at(config, method.settings, Clock(step, 100)) for step in (89, 90))
    assert (early[0].crops[0].size, early[1]) == (32, 64)
    assert (late[0].crops[0].size, late[1]) == (64, 16)


def build_config() -> Any:
    from tests.pretrain.method_parts import tiny_config

    return tiny_config("dinov2", batch=64)


@pytest.mark.parametrize("name", ["ibot", "dinov2"])
def test_a_small_share_of_masked_images_masks_one_at_least(name: str) -> None:
    step = build(name, masked_images=0.01)(random_batch(local=2))
    assert torch.isfinite(step.loss)
    assert step.logs["patch_loss"] > 0
