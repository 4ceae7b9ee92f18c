"""All pairs of points nearer than a radius, by a grid of cells of that side."""

from __future__ import annotations

import torch

from models.lidar.voxels import key_of


def pairs_within(
    queries: torch.Tensor, query_scan: torch.Tensor, supports: torch.Tensor, support_scan: torch.Tensor, radius: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Indices (P,) of a query and (P,) of a support of the same scan, at most ``radius`` apart.

    Keys of cells run along z first, so the three cells above each other are one run of the sorted supports: nine runs a query.

    Args:
        queries: (Q, 3) m.
        query_scan: (Q,) int64.
        supports: (S, 3) m.
        support_scan: (S,) int64.
        radius: m.
    """
    keys, order = key_of((supports / radius).floor(), support_scan).sort()
    cells = (queries / radius).floor()
    found: list[tuple[torch.Tensor, torch.Tensor]] = []
    for dx in (-1.0, 0.0, 1.0):
        for dy in (-1.0, 0.0, 1.0):
            lowest, highest = (key_of(cells + cells.new_tensor([dx, dy, dz]), query_scan) for dz in (-1.0, 1.0))
            first = torch.searchsorted(keys, lowest)
            counts = torch.searchsorted(keys, highest, right=True) - first
            query = torch.repeat_interleave(torch.arange(len(queries), device=queries.device), counts)
            within = torch.arange(len(query), device=queries.device) - torch.repeat_interleave(counts.cumsum(0) - counts, counts)
            support = order[first[query] + within]
            near = (queries[query] - supports[support]).square().sum(1) <= radius**2
            found.append((query[near], support[near]))
    return torch.cat([query for query, _ in found]), torch.cat([support for _, support in found])
