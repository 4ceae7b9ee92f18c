"""CAUSE against naive computations and on regions whose classes are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from token_source import Tokens, best_accuracy, regions

from benchmarks.peers import modularity
from benchmarks.peers.cause import CauseModel, CauseSettings, fit_cause, fit_concepts, nearest
from benchmarks.peers.cause_heads import DecoderHead, PointwiseHead
from benchmarks.peers.concept_contrast import ConceptBank, concept_contrast
from benchmarks.peers.modularity import modularity_loss, modularity_matrix

QUICK = CauseSettings(
    concepts=24, patches=16, anchors=16, book_steps=30, batch=4, book_images=4, head_steps=60, code_dim=8, projection=16, bank_drawn=64, probe_steps=150
)


def fitted(source: Tokens, classes: int, options: CauseSettings, seed: int) -> CauseModel:
    """All stages of CAUSE."""
    return fit_cause(source, fit_concepts(source, options, seed=seed), classes, options, seed=seed)


def cosine(first: torch.Tensor, second: torch.Tensor) -> float:
    return float(first.double() @ second.double() / first.double().norm() / second.double().norm())


def naive_modularity(tokens: torch.Tensor, codes: torch.Tensor, temperature: float) -> float:
    """Tr[(W / e) δ] of one image (n, C), with loops."""
    n = len(tokens)
    affinity = [[0.0 if i == j else max(0.0, cosine(tokens[i], tokens[j])) for j in range(n)] for i in range(n)]
    degrees = [sum(row) for row in affinity]
    edges = sum(degrees)
    total = 0.0
    for i in range(n):
        for j in range(n):
            shared = max(math.tanh(max(0.0, cosine(tokens[i], code)) * max(0.0, cosine(tokens[j], code)) / temperature) for code in codes)
            total += (affinity[i][j] - degrees[i] * degrees[j] / edges) / edges * shared
    return total


def test_modularity_matrix_has_no_loops_and_sums_to_zero() -> None:
    tokens = torch.randn(2, 7, 5, generator=torch.Generator().manual_seed(0))
    excess, edges = modularity_matrix(tokens)
    assert torch.allclose(excess.sum(2), torch.zeros(2, 7), atol=1e-5)
    assert torch.allclose(excess, excess.transpose(1, 2))
    degree = sum(max(0.0, cosine(tokens[1, 0], tokens[1, j])) for j in range(1, 7))
    assert float(excess[1, 0, 0]) == pytest.approx(-(degree**2) / float(edges[1]), rel=1e-4)


def test_modularity_loss_is_its_formula() -> None:
    draw = torch.Generator().manual_seed(1)
    tokens, codes = torch.randn(2, 6, 5, generator=draw), torch.randn(7, 5, generator=draw)
    expected = -np.mean([naive_modularity(image, codes, 0.1) for image in tokens])
    assert float(modularity_loss(codes, tokens)) == pytest.approx(expected, abs=1e-5)


def test_few_candidates_give_nearly_the_modularity_of_all_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    source, _ = regions(2, (6, 8), 4, 16, 0.2, 0)
    tokens = torch.from_numpy(np.stack(source.images))
    codes = torch.from_numpy(source.sample(60, 0)[0])
    some = float(modularity_loss(codes, tokens))
    monkeypatch.setattr(modularity, "CANDIDATES", 60)
    assert some == pytest.approx(float(modularity_loss(codes, tokens)), rel=0.01)


def test_modularity_prefers_the_communities() -> None:
    source, labels = regions(1, (6, 8), 3, 12, 0.1, 0)
    tokens = torch.from_numpy(source.images[0])
    true = torch.stack([tokens[torch.from_numpy(labels[0] == kind)].mean(0) for kind in range(3)])
    merged = torch.stack([true[0] + true[1], true[2]])
    assert float(modularity_loss(true, tokens[None])) < float(modularity_loss(merged, tokens[None])) < 0


def naive_contrast(anchors: torch.Tensor, candidates: torch.Tensor, similarity: torch.Tensor, same: bool) -> float:
    terms = []
    for i in range(len(anchors)):
        kept = [j for j in range(len(candidates)) if not (same and i == j)]
        scores = {j: cosine(anchors[i], candidates[j]) / 0.07 for j in kept}
        total = sum(math.exp(scores[j]) for j in kept if similarity[i, j] > 0.3 or similarity[i, j] < 0.1)
        terms += [math.log(total) - scores[j] for j in kept if similarity[i, j] > 0.3]
    return float(np.mean(terms))


@pytest.mark.parametrize("same", [True, False])
def test_contrastive_loss_is_its_formula(same: bool) -> None:
    draw = torch.Generator().manual_seed(2)
    anchors, candidates = torch.randn(6, 4, generator=draw), torch.randn(6, 4, generator=draw)
    similarity = torch.rand(6, 6, generator=draw)
    similarity[2] = 0.2  # neither attracts nor repels anything
    assert float(concept_contrast(anchors, candidates, similarity, same=same)) == pytest.approx(naive_contrast(anchors, candidates, similarity, same), rel=1e-4)


def test_contrastive_loss_without_positives_is_zero_and_has_a_gradient_without_nan() -> None:
    anchors = torch.randn(3, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    similarity = torch.full((3, 3), 0.2)
    loss = concept_contrast(anchors, torch.ones(3, 4), similarity, same=True)
    assert float(loss.detach()) == 0
    similarity[0, 1] = 0.9
    concept_contrast(anchors, torch.eye(4)[:3], similarity, same=True).backward()  # type: ignore[no-untyped-call]
    assert anchors.grad is not None
    assert torch.isfinite(anchors.grad).all()


def test_the_bank_keeps_the_latest_of_each_concept() -> None:
    bank = ConceptBank(concepts=3, depth=2, width=1)
    kept: dict[int, list[float]] = {0: [], 1: [], 2: []}
    draw = torch.Generator().manual_seed(0)
    value = 1.0
    for _ in range(6):
        concepts = torch.randint(2, (5,), generator=draw)
        values = torch.arange(value, value + 5)[:, None]
        value += 5
        bank.add(values, concepts)
        for number, concept in zip(values[:, 0].tolist(), concepts.tolist(), strict=True):
            kept[concept] = [*kept[concept], number][-2:]
    entries, concepts = bank.draw(100, draw)
    held = {kind: sorted(entries[concepts == kind, 0].tolist()) for kind in range(3)}
    assert held == {kind: sorted(numbers) for kind, numbers in kept.items()}
    assert len(bank.draw(3, draw)[0]) == 3


def test_heads_give_a_code_a_patch_on_any_grid() -> None:
    tokens = torch.randn(2, 12, 8)
    for head in (PointwiseHead(8, 5), DecoderHead(8, 5, (4, 4), hidden=16)):
        assert head(tokens, tokens, (3, 4)).shape == (2, 12, 5)


def test_the_pointwise_head_looks_at_one_patch_and_the_decoder_at_all() -> None:
    torch.manual_seed(0)
    tokens = torch.randn(1, 12, 8)
    other = tokens.clone()
    other[0, 5] += 1
    for head, moves in ((PointwiseHead(8, 5).eval(), False), (DecoderHead(8, 5, (3, 4), hidden=16).eval(), True)):
        difference = (head(tokens, tokens, (3, 4)) - head(other, other, (3, 4))).abs().amax(2)[0]
        assert difference[5] > 1e-4
        assert bool((np.delete(difference.detach().numpy(), 5) > 1e-6).any()) is moves


def test_nearest_is_by_cosine() -> None:
    assert nearest(torch.tensor([[10.0, 1.0], [0.1, 1.0]]), torch.tensor([[0.0, 5.0], [0.5, 0.0]])).tolist() == [1, 0]


@pytest.mark.parametrize(("head", "probe_steps"), [("mlp", 150), ("mlp", 0), ("tr", 150)])
def test_cause_finds_the_regions(head: str, probe_steps: int) -> None:
    source, labels = regions(8, (6, 9), 3, 12, 0.1, 4)
    model = fitted(source, 3, CauseSettings(**(vars(QUICK) | {"head": head, "window": 6, "dropout": 0.0, "probe_steps": probe_steps})), seed=0)
    said = np.concatenate([model.scores(torch.from_numpy(image), (6, 9)).argmax(1).numpy() for image in source.images])
    assert best_accuracy(said, np.concatenate(labels), 3) > 0.95
    assert np.mean(model.losses["head"][-10:]) < np.mean(model.losses["head"][:10])


def test_the_same_seed_gives_the_same_model() -> None:
    source, _ = regions(4, (5, 6), 3, 8, 0.1, 3)
    short = CauseSettings(**(vars(QUICK) | {"book_steps": 3, "head_steps": 3, "probe_steps": 3}))
    before = torch.random.get_rng_state()
    first, again = (fitted(source, 3, short, seed=1) for _ in range(2))
    assert torch.equal(first.centroids, again.centroids)
    assert torch.equal(first.book, again.book)
    assert torch.equal(before, torch.random.get_rng_state())
