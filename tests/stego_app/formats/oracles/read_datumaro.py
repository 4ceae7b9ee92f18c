"""Run in datumaro's environment: read a data set and store its label maps by class name. Arguments: format, folder, result (.npz)."""

import sys

import numpy as np
from datumaro.components.annotation import AnnotationType
from datumaro.components.dataset import Dataset

kind, folder, result = sys.argv[1:]
dataset = Dataset.import_from(folder, kind)
names = [label.name for label in dataset.categories()[AnnotationType.label]]
maps = {}
for item in dataset:
    masks = [annotation for annotation in item.annotations if annotation.type == AnnotationType.mask]
    size = masks[0].image.shape if masks else item.media.size
    labels = np.full(size, -1, dtype=np.int64)
    for mask in masks:
        labels[mask.image.astype(bool)] = mask.label
    maps[item.id] = labels
np.savez(result, names=np.array(names), keys=np.array(list(maps)), **{f"map{index}": labels for index, labels in enumerate(maps.values())})
