"""The segmentation bench in parts: sets, methods, scores, cells on disk, tables and plots. `benchmarks/segmentation.py` is its door."""
