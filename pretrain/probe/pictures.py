"""Pictures of what a backbone sees: nearest images, principal components of patch tokens, attention."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageDraw

from models.backbone import Backbone
from pretrain.probe.attention import attention_maps
from stego_app.features import extract_features, resize_for_backbone
from stego_app.patch_features import PatchFeatures, unit_rows
from stego_app.pca_view import pca_view

Bytes = npt.NDArray[np.uint8]

TILE, GAP, CAPTION = 150, 6, 16
RIGHT, WRONG, PLAIN = (30, 150, 60), (200, 40, 40), (255, 255, 255)
Color = tuple[int, int, int]
Tile = tuple[Bytes, str, Color]
"""A picture (H, W, 3), its caption, and the colour of its frame."""
_HEADS = 6


def mosaic(rows: Sequence[Sequence[Tile]]) -> bytes:
    """Rows of framed tiles with captions under them, as PNG.

    Raises:
        ValueError: no tile.
    """
    columns = max(map(len, rows))
    sheet = Image.new("RGB", (columns * (TILE + GAP) + GAP, len(rows) * (TILE + CAPTION + GAP) + GAP), "white")
    draw = ImageDraw.Draw(sheet)
    for line, row in enumerate(rows):
        for column, (pixels, caption, color) in enumerate(row):
            left, top = GAP + column * (TILE + GAP), GAP + line * (TILE + CAPTION + GAP)
            picture = _fitted(pixels)
            at = (left + (TILE - picture.width) // 2, top + (TILE - picture.height) // 2)
            sheet.paste(picture, at)
            if color != PLAIN:
                draw.rectangle((at[0], at[1], at[0] + picture.width - 1, at[1] + picture.height - 1), outline=color, width=4)
            draw.text((left, top + TILE + 1), _shortened(caption), fill="black")
    buffer = BytesIO()
    sheet.save(buffer, "PNG")
    return buffer.getvalue()


def patch_components(backbone: Backbone, images: Sequence[Bytes], resolution: int) -> tuple[bytes, float]:
    """Each image above its three largest principal components as colours, joint over all: PNG, and the share of variance shown."""
    inputs = [resize_for_backbone(image, resolution, backbone.patch_size) for image in images]
    features = extract_features(backbone, inputs)
    patches = [PatchFeatures(unit_rows(part.reshape(part.shape[0], -1).T.numpy()), (part.shape[1], part.shape[2])) for part in features]
    view = pca_view(patches)
    return mosaic([[(image, "", PLAIN) for image in images], [(picture, "", PLAIN) for picture in view.pictures]]), view.share


def attention_picture(backbone: Backbone, images: Sequence[Bytes], resolution: int) -> bytes:
    """A row for each image: itself, the mean of the heads, and the first six heads; each map stretched to its own range.

    Raises:
        StegoError: see `attention_maps`.
    """
    device = next(backbone.parameters()).device
    rows = []
    for image in images:
        maps = attention_maps(backbone, resize_for_backbone(image, resolution, backbone.patch_size)[None].to(device))[0]
        tiles: list[Tile] = [(image, "", PLAIN), (_heat(maps.mean(dim=0)), "mean of heads", PLAIN)]
        tiles += [(_heat(head), f"head {number}", PLAIN) for number, head in enumerate(maps[:_HEADS])]
        rows.append(tiles)
    return mosaic(rows)


def _heat(values: torch.Tensor) -> Bytes:
    """Grey levels (h, w, 3) of a map (h, w), white where it is largest."""
    low, high = float(values.min()), float(values.max())
    levels = (values - low) / (high - low) if high > low else torch.full_like(values, 0.5)
    return np.repeat((levels.numpy() * 255).round().astype(np.uint8)[..., None], 3, axis=2)


def _fitted(pixels: Bytes) -> Image.Image:
    """As large as a tile allows; small pictures are enlarged without smoothing, so that patches stay patches."""
    image = Image.fromarray(pixels)
    scale = TILE / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS)


def _shortened(text: str) -> str:
    return text if len(text) <= 24 else text[:11] + "…" + text[-12:]
