"""Which seeds there are."""

from __future__ import annotations

LARGEST_SEED = 2**31 - 1
"""What every library that is seeded takes: faiss' are 32 bits with a sign, scikit-learn's without."""
