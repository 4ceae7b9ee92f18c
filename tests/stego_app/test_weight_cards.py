"""What the cards beside the embedded weights say is what the files and the records hold."""

from __future__ import annotations

import re
from pathlib import Path

from models.artifact import read_header
from models.backbone_sources import default_backbone_path
from stego_app.segmenter_file import default_segmenter_path

ROOT = Path(__file__).parents[2]


def test_the_segmenter_card_is_of_the_embedded_segmenter() -> None:
    path = default_segmenter_path()
    header, card = read_header(path), path.with_name("segmenter.card.md").read_text()
    assert f"`{header['backbone_fingerprint']}`" in card
    assert f"`{header['provenance']['data_fingerprint']}`" in card
    assert f"short side {header['settings']['resolution']} pixels" in card
    assert f"{path.stat().st_size / 1e6:.1f} MB" in card
    assert f"{header['clusters']['classes']} of {header['provenance']['config']['discovery']['fine']} fine clusters" in card


def test_the_backbone_card_gives_the_speed_that_was_recorded() -> None:
    card = default_backbone_path().with_name("backbone.card.md").read_text()
    record = (ROOT / "docs" / "distillation.md").read_text()
    for said, recorded in (("this backbone", "student, 10 blocks (embedded)"), ("a student of 6 blocks", "student, 6 blocks")):
        [shown] = re.findall(rf"^\| {said}.*?\| (\d+ / \d+) \| (\d+ / \d+) \|$", card, re.MULTILINE)
        [row] = [line for line in record.splitlines() if line.startswith(f"| {recorded} |")]
        assert tuple(re.findall(r"\| (\d+ / \d+) ", row)) == shown
    assert f"{default_backbone_path().stat().st_size / 1e6:.1f} MB" in card
