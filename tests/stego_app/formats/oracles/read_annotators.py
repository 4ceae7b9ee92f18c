"""Run in the environment of label-studio-sdk, supervision and labelme: store label maps by class name. Arguments: tool, path, result (.npz)."""

import json
import sys
from pathlib import Path

import numpy as np


def label_studio(path):
    from label_studio_sdk.converter.brush import decode_from_annotation

    names, maps = [], {}
    for task in json.loads(path.read_text()):
        results = task["predictions"][0]["result"]
        labels = np.full((task["meta"]["height"], task["meta"]["width"]), -1)
        for result in results:
            # The decoder takes results with their value's fields beside the others.
            layers = decode_from_annotation("tag", [{**result, **result["value"]}])
            (layer,) = layers.values()
            (name,) = result["value"]["brushlabels"]
            names = names if name in names else [*names, name]
            labels[layer > 0] = names.index(name)
        maps[Path(task["data"]["image"].partition("?d=")[2]).stem] = labels
    return names, maps


def supervision(path):
    import supervision as sv

    dataset = sv.DetectionDataset.from_yolo(str(path / "images"), str(path / "labels"), str(path / "data.yaml"), force_masks=True)
    maps = {}
    for file, image, detections in dataset:
        labels = np.full(image.shape[:2], -1)
        for mask, label in zip(detections.mask if detections.mask is not None else [], detections.class_id, strict=False):
            labels[mask] = label
        maps[Path(file).stem] = labels
    return dataset.classes, maps


def labelme(path):
    from labelme._label_file import read_label_file
    from labelme.utils import shapes_to_label

    names, maps = [], {}
    for file in sorted(path.glob("*.json")):
        data = read_label_file(str(file))
        names += sorted({shape["label"] for shape in data.shapes} - set(names))
        document = json.loads(file.read_text())
        values = {name: index + 1 for index, name in enumerate(names)}
        labels, _ = shapes_to_label((document["imageHeight"], document["imageWidth"]), data.shapes, values)
        maps[file.stem] = labels.astype(np.int64) - 1
    return names, maps


if __name__ == "__main__":
    tool, path, result = sys.argv[1:]
    names, maps = {"label-studio": label_studio, "supervision": supervision, "labelme": labelme}[tool](Path(path))
    np.savez(result, names=np.array(names), keys=np.array(list(maps)), **{f"map{index}": labels for index, labels in enumerate(maps.values())})
