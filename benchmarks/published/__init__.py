"""Recipes for the published benchmarks of unsupervised segmentation: data, training, evaluation, and the published rows beside ours."""
