"""An attentive probe: what frozen tokens of a clip know, asked by one learned query."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional


class AttentiveProbe(nn.Module):
    """Cross-attention of a learned query, its answer added to the query, an MLP, a norm and a linear classifier (Bardes et al., 2024, section 4.2).

    Args:
        dim: channels of a token.
        classes: to tell apart.
        head_width: channels of an attention head.
    """

    def __init__(self, dim: int, classes: int, head_width: int = 64) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.zeros(1, 1, dim))
        nn.init.trunc_normal_(self.query, std=0.02)
        self.before = nn.LayerNorm(dim)
        self.attention = nn.MultiheadAttention(dim, max(1, dim // head_width), batch_first=True)
        self.norm = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))
        self.after = nn.LayerNorm(dim)
        self.classify = nn.Linear(dim, classes)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Logits (B, classes) of frozen ``tokens`` (B, N, dim)."""
        known = self.before(tokens)
        query = self.query.expand(len(tokens), -1, -1)
        answer = query + self.attention(query, known, known, need_weights=False)[0]
        answer = answer + self.mlp(self.norm(answer))
        logits: torch.Tensor = self.classify(self.after(answer[:, 0]))
        return logits


def fit_probe(
    tokens: torch.Tensor, labels: torch.Tensor, classes: int, *, steps: int = 300, batch: int = 64, rate: float = 1e-3, decay: float = 0.01, seed: int = 0
) -> AttentiveProbe:
    """A probe trained on ``tokens`` (N, L, C) with ``labels`` (N,) int64: AdamW, warm-up over a tenth of the steps, a cosine to 0."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        probe = AttentiveProbe(tokens.shape[-1], classes)
        optimiser = torch.optim.AdamW(probe.parameters(), lr=rate, weight_decay=decay)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps, pct_start=0.1)
        for _ in range(steps):
            chosen = torch.randint(len(tokens), (min(batch, len(tokens)),))
            loss = functional.cross_entropy(probe(tokens[chosen].float()), labels[chosen])
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
    return probe.eval()


@torch.no_grad()
def accuracy(probe: AttentiveProbe, tokens: torch.Tensor, labels: torch.Tensor, batch: int = 256) -> float:
    """Share of ``tokens`` (N, L, C) whose largest logit is that of their label (N,), in [0, 1]."""
    right = [(probe(some.float()).argmax(1) == wanted).float() for some, wanted in zip(torch.split(tokens, batch), torch.split(labels, batch), strict=True)]
    return float(torch.cat(right).mean())
