"""Landscapes drawn by this code: pictures to show, and to test with, that are nobody else's."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter


def drawn_scene(seed: int = 0, height: int = 480, width: int = 640) -> npt.NDArray[np.uint8]:
    """An (H, W, 3) uint8 landscape: sky with sun and clouds, hills, a meadow, a road, a house and trees, placed by ``seed``."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:height, 0:width]
    horizon = height * random.uniform(0.45, 0.55)
    sky = np.array([110, 165, 225]) + np.array([90, 60, 25]) * np.clip(rows / horizon, 0, 1)[..., None] ** 2
    image = Image.fromarray(np.clip(sky, 0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    sun = (width * random.uniform(0.1, 0.9), height * random.uniform(0.08, 0.2))
    draw.ellipse([sun[0] - 26, sun[1] - 26, sun[0] + 26, sun[1] + 26], fill=(255, 240, 190))
    for _ in range(4):
        x, y = random.uniform(0, width), random.uniform(0.05, 0.3) * height
        for _ in range(9):
            dx, dy, r = random.normal(0, 34), random.normal(0, 7), random.uniform(9, 22)
            draw.ellipse([x + dx - r, y + dy - r * 0.7, x + dx + r, y + dy + r * 0.7], fill=(244, 246, 250))
    for layer, color in enumerate([(120, 140, 165), (85, 115, 120)]):
        phases = random.uniform(0, 6.3, 3)
        crest = horizon - 60 + 35 * layer + sum(26 / k * np.sin(k * np.arange(width) / width * 5 + phases[k - 1]) for k in (1, 2, 3))
        draw.polygon([(0, height), *zip(range(width), crest.tolist(), strict=True), (width, height)], fill=color)
    draw.polygon([(0, horizon + 20), (width, horizon + 8), (width, height), (0, height)], fill=(96, 150, 62))
    _road(draw, width * random.uniform(0.35, 0.65), horizon + 14, width, height)
    image = image.filter(ImageFilter.GaussianBlur(1.2))
    draw = ImageDraw.Draw(image)
    _house(draw, width * random.uniform(0.12, 0.28), horizon + 70, 120)
    for _ in range(4):
        _tree(draw, random, width * random.uniform(0.66, 0.98), horizon + random.uniform(30, 90), random.uniform(0.7, 1.2))
    picture = np.asarray(image).astype(np.float64)
    ground = (rows > horizon + 15)[..., None]
    grain = np.kron(random.normal(0, 1, (height // 2 + 1, width // 2 + 1)), np.ones((2, 2)))[:height, :width, None]
    fine = random.normal(0, 1, (height, width, 1)) + 0.4 * np.sin(columns / 1.7 + rows * 0.6)[..., None]
    return np.clip(picture + np.where(ground, 9 * grain + 5 * fine, 2 * fine), 0, 255).astype(np.uint8)


def _road(draw: ImageDraw.ImageDraw, x: float, top: float, width: int, height: int) -> None:
    draw.polygon([(x - 6, top), (x + 6, top), (width * 0.72, height), (width * 0.3, height)], fill=(128, 124, 122))
    for step in np.linspace(0.05, 0.95, 9):
        y, half = top + (height - top) * step, 1 + 5 * step
        middle = x + (width * 0.51 - x) * step
        draw.polygon([(middle - half / 2, y), (middle + half / 2, y), (middle + half, y + 14 * step), (middle - half, y + 14 * step)], fill=(235, 232, 220))


def _house(draw: ImageDraw.ImageDraw, x: float, base: float, size: float) -> None:
    draw.rectangle([x, base - 0.62 * size, x + size, base], fill=(214, 190, 160))
    draw.polygon([(x - 0.1 * size, base - 0.6 * size), (x + 0.5 * size, base - 1.08 * size), (x + 1.1 * size, base - 0.6 * size)], fill=(158, 62, 48))
    for row in range(6):  # tiles
        y = base - (0.64 + 0.07 * row) * size
        draw.line([(x + (0.08 * row - 0.05) * size, y), (x + (1.05 - 0.08 * row) * size, y)], fill=(128, 46, 38), width=2)
    draw.rectangle([x + 0.42 * size, base - 0.32 * size, x + 0.6 * size, base], fill=(94, 66, 46))
    for left in (0.12, 0.72):
        draw.rectangle(
            [x + left * size, base - 0.46 * size, x + (left + 0.18) * size, base - 0.26 * size], fill=(92, 122, 150), outline=(250, 248, 240), width=3
        )


def _tree(draw: ImageDraw.ImageDraw, random: np.random.Generator, x: float, base: float, scale: float) -> None:
    draw.rectangle([x - 6 * scale, base - 56 * scale, x + 6 * scale, base], fill=(92, 66, 44))
    for _ in range(130):
        angle, radius = random.uniform(0, 2 * np.pi), 46 * scale * np.sqrt(random.uniform(0, 1))
        cx, cy, r = x + radius * np.cos(angle), base - 84 * scale + radius * np.sin(angle), random.uniform(5, 11) * scale
        shade = random.integers(-22, 22)
        draw.ellipse([cx - r, cy - r, cx + r, cy + r], fill=(48 + int(shade) // 2, 98 + int(shade), 44 + int(shade) // 2))
