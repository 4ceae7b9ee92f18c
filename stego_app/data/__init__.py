"""Data sets in their published folder layouts, as samples with labels 0 to K-1 and 255 for void."""

from stego_app.data.dataset import VOID, Dataset, LabelRule, Sample
from stego_app.data.layouts import LAYOUTS, open_dataset

__all__ = ["LAYOUTS", "VOID", "Dataset", "LabelRule", "Sample", "open_dataset"]
