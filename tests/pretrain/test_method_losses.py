"""Each method's loss against the equation of its paper, computed in NumPy without its code, and the losses' known invariants."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import entr, logsumexp

from models.errors import StegoError
from pretrain.methods.assignments import centred, crossed, masked_patches
from pretrain.methods.ijepa import IJepaOptions, block_masks
from pretrain.methods.mae import painting_loss
from pretrain.methods.neco import align, common_regions, ordering_loss, similarities, soft_order
from pretrain.methods.simclrv2 import distillation_loss, labelled_subset
from pretrain.methods.simmim import masked_l1, unit_mask
from pretrain.schedules import Clock
from tests.pretrain.method_parts import COUNT, build, random_batch, softmax, unit

CLOSE = {"rel": 1e-5, "abs": 1e-5}


def _projected(method: Any, images: torch.Tensor) -> torch.Tensor:
    return method.head(method.pooled(images.flatten(0, 1)))  # type: ignore[no-any-return]


def _contrastive(z: np.ndarray, temperature: float) -> float:
    """SimCLR's equation 1 over all 2N positive pairs, one by one."""
    count, total = len(z) // 2, 0.0
    for i in range(2 * count):
        j = (i + count) % (2 * count)
        others = [z[i] @ z[k] / temperature for k in range(2 * count) if k != i]
        total += logsumexp(others) - z[i] @ z[j] / temperature
    return total / (2 * count)


@pytest.mark.parametrize("name", ["simclr", "simclrv2"])
def test_simclr(name: str) -> None:
    method, batch = build(name, hidden=16, projection=8, temperature=0.3), random_batch()
    z = unit(_projected(method, batch.views))
    assert float(method(batch).loss.detach()) == pytest.approx(_contrastive(z, 0.3), **CLOSE)
    assert sum(isinstance(layer, torch.nn.Linear) for layer in method.head.modules()) == (2 if name == "simclr" else 3)  # type: ignore[union-attr]


def test_byol() -> None:
    method: Any = build("byol", hidden=16, projection=8)
    batch = random_batch()
    with torch.no_grad():  # a target unlike the online network
        for parameter in method.target.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    images = batch.views.flatten(0, 1)
    p, z = unit(method.predictor(method.online(images))), unit(method.target(images))
    first, second = slice(0, COUNT), slice(COUNT, None)
    naive = np.mean(np.sum((p[first] - z[second]) ** 2, 1)) + np.mean(np.sum((p[second] - z[first]) ** 2, 1))
    loss = method(batch).loss
    assert float(loss.detach()) == pytest.approx(naive, **CLOSE)
    loss.backward()
    assert all(parameter.grad is None for parameter in method.target.parameters())


def test_the_teacher_is_the_moving_average_of_the_student() -> None:
    method: Any = build("byol", step=0, hidden=16, projection=8, momentum=0.9)
    before = [parameter.clone() for parameter in method.target.parameters()]
    with torch.no_grad():
        for parameter in method.online.parameters():
            parameter.add_(1)
    method.after_step()
    for old, new, online in zip(before, method.target.parameters(), method.online.parameters(), strict=True):
        torch.testing.assert_close(new, 0.9 * old + 0.1 * online)


def test_simsiam() -> None:
    method: Any = build("simsiam", projection=16, bottleneck=4)
    batch = random_batch()
    projected = method.projector(method.pooled(batch.views.flatten(0, 1)))
    z, p = unit(projected), unit(method.predictor(projected))
    naive = -0.5 * np.mean(np.sum(p[:COUNT] * z[COUNT:], 1)) - 0.5 * np.mean(np.sum(p[COUNT:] * z[:COUNT], 1))
    assert float(method(batch).loss.detach()) == pytest.approx(naive, **CLOSE)


def test_barlow_twins() -> None:
    method, batch = build("barlow-twins", projection=6, redundancy=0.01), random_batch()
    z = _projected(method, batch.views).detach().double().numpy()
    a, b = ((part - part.mean(0)) / np.sqrt(part.var(0) + 1e-5) for part in (z[:COUNT], z[COUNT:]))  # batch norm's epsilon
    naive = 0.0
    for i in range(6):
        for j in range(6):
            c = np.sum(a[:, i] * b[:, j]) / COUNT
            naive += (1 - c) ** 2 if i == j else 0.01 * c**2
    assert float(method(batch).loss.detach()) == pytest.approx(naive, **CLOSE)


def _vicreg(a: np.ndarray, b: np.ndarray) -> tuple[float, float, float]:
    """Invariance (equation 5 over the channels too), variance (1, the branches' mean) and covariance (4, their sum), written out."""
    dim = a.shape[1]
    variance = np.mean([np.maximum(0, 1 - np.sqrt(z.var(0, ddof=1) + 1e-4)).mean() for z in (a, b)])
    covariance = sum((np.cov(z.T)[~np.eye(dim, dtype=bool)] ** 2).sum() / dim for z in (a, b))
    return float(((a - b) ** 2).mean()), float(variance), float(covariance)


def test_vicreg() -> None:
    method, batch = build("vicreg", projection=6, invariance=2.0, variance=3.0, covariance=0.5), random_batch()
    z = _projected(method, batch.views).detach().double().numpy()
    s, v, c = _vicreg(z[:COUNT], z[COUNT:])
    assert float(method(batch).loss.detach()) == pytest.approx(2 * s + 3 * v + 0.5 * c, **CLOSE)


def test_vicregs_terms_on_a_constructed_covariance() -> None:
    method: Any = build("vicreg", projection=6)
    white = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]]) * math.sqrt(3 / 4) * 2  # deviation 2, no covariance
    assert float(method.criterion(white, white)) == pytest.approx(0, abs=1e-5)
    flat = torch.zeros(4, 2)
    assert float(method.criterion(flat, flat)) == pytest.approx(25 * (1 - 0.01), rel=1e-5)  # sqrt(epsilon) of deviation is left
    tied = white[:, :1].expand(-1, 2)  # covariance 4 between the two channels
    assert float(method.criterion(tied, tied)) == pytest.approx(2 * (2 * 4.0**2) / 2, rel=1e-5)


def test_vicregs_second_modality_has_a_network_of_its_own(tmp_path: Any) -> None:
    method: Any = build("vicreg", fields={"pair": tmp_path}, projection=6)
    batch = random_batch()
    method(batch).loss.backward()
    with torch.no_grad():
        for parameter in method.second_encoder.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    first = method.head(method.pooled(batch.views[0]))
    other = method.second_encoder
    second = method.second_head(other.pool(other(batch.views[1]), "mean"))
    s, v, c = _vicreg(first.detach().double().numpy(), second.detach().double().numpy())
    assert float(method(batch).loss.detach()) == pytest.approx(25 * s + 25 * v + c, **CLOSE)
    assert all(parameter.grad is not None for name, parameter in method.named_parameters() if parameter.requires_grad and "cls_token" not in name)


def test_vicreg_is_finite_with_two_images() -> None:
    method: Any = build("vicreg", projection=6)
    z = torch.randn(2, 6, requires_grad=True)
    method.criterion(z, z.detach().flip(0)).backward()
    assert bool(torch.isfinite(z.grad).all())  # type: ignore[arg-type]


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


def test_lejepa() -> None:
    method: Any = build("lejepa", hidden=16, projection=4, local_crops=2, local_size=16, slices=3, weight=0.2)
    batch = random_batch(local=2)
    groups = [method.head(method.pooled(group.flatten(0, 1))).unflatten(0, (2, COUNT)).detach().double() for group in (batch.views, batch.local)]
    z = torch.cat(groups).numpy()
    torch.manual_seed(3)
    directions = torch.randn(4, 3)
    directions = (directions / directions.norm(dim=0)).double().numpy()
    t = np.linspace(0, 3, 17)
    statistics = []
    for view in z:  # Epps-Pulley: N ∫ |ecf(t) - exp(-t²/2)|² exp(-t²/2) dt over [-3, 3]
        for direction in directions.T:
            ecf = np.exp(1j * t[:, None] * (view @ direction)[None]).mean(1)
            statistics.append(COUNT * 2 * np.trapezoid(np.abs(ecf - np.exp(-(t**2) / 2)) ** 2 * np.exp(-(t**2) / 2), t))
    invariance = ((z - z[:2].mean(0)) ** 2).mean()
    torch.manual_seed(3)
    assert float(method(batch).loss.detach()) == pytest.approx(0.2 * np.mean(statistics) + 0.8 * invariance, rel=5e-5)


def test_sigreg_is_lower_for_a_gaussian_than_for_a_collapsed_batch() -> None:
    method: Any = build("lejepa", slices=64)
    gaussian = torch.randn(500, 8)
    assert float(method.criterion.sigreg(gaussian)) < 0.1 * float(method.criterion.sigreg(torch.zeros(500, 8)))
    assert float(method.criterion.sigreg(gaussian)) < float(method.criterion.sigreg(3 * gaussian))


def test_simclrv2_fine_tunes_from_the_heads_middle_and_distils() -> None:
    options = {"hidden": 16, "projection": 8, "label_fraction": 0.5}
    method: Any = build("simclrv2", **options)
    assert [method.stage(Clock(step, 100)) for step in (0, 59, 60, 79, 80, 99)] == [0, 0, 1, 1, 2, 2]
    assert method.subset(Clock(10, 100)) is None
    labelled = method.subset(Clock(60, 100))
    assert np.bincount(labelled % 4).tolist() == [5] * 4
    method.clock = Clock(59, 100)
    with torch.no_grad():
        method.encoder.network.blocks[0].mlp.fc1.weight.add_(1)
    method.after_step()  # the fine-tuned copy starts where pretraining ended
    torch.testing.assert_close(method.tuned.encoder.network.blocks[0].mlp.fc1.weight, method.encoder.network.blocks[0].mlp.fc1.weight)
    batch = random_batch()
    method.clock = Clock(60, 100)
    logits = method.tuned(batch.views.flatten(0, 1)).detach().double().numpy()
    labels = np.tile(batch.labels.numpy(), 2)
    naive = -np.mean(np.log(softmax(logits)[np.arange(len(labels)), labels]))
    assert float(method(batch).loss.detach()) == pytest.approx(naive, **CLOSE)
    method.clock = Clock(80, 100)
    loss = method(batch).loss
    loss.backward()
    assert all(parameter.grad is None for parameter in method.tuned.parameters())
    assert method.student.classify.weight.grad is not None


def test_simclrv2s_distillation() -> None:
    rng = np.random.default_rng(0)
    student, teacher = rng.normal(size=(2, 5, 3))
    naive = -np.mean(np.sum(softmax(teacher / 0.5) * np.log(softmax(student / 0.5)), axis=1))
    assert float(distillation_loss(torch.from_numpy(student), torch.from_numpy(teacher), 0.5)) == pytest.approx(naive, **CLOSE)
    assert len(labelled_subset(np.array([0] * 50 + [1] * 3), 0.1, 0)) == 5 + 1


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


@pytest.mark.parametrize("name", ["ibot", "dinov2"])
def test_a_small_share_of_masked_images_masks_one_at_least(name: str) -> None:
    step = build(name, masked_images=0.01)(random_batch(local=2))
    assert torch.isfinite(step.loss)
    assert step.logs["patch_loss"] > 0
