"""Put a distilled student into the package as the default backbone, with its card.

    python benchmarks/embed_backbone.py student.safetensors --precision int8 --scores scores.json --command "stego pretrain distill ..."
    python benchmarks/embed_backbone.py --cards    # write only the cards again, from the header of the embedded file

``scores.json`` holds what `benchmarks/distillation.py` printed for this student; it is copied into the card as it is.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from models.artifact import read_header
from models.backbone import read_backbone, save_backbone
from models.backbone_sources import default_backbone_path

TERMS = {
    "licence": "Apache-2.0 (derived from DINOv2 weights, Apache-2.0)",
    "training_images": "2,000 ImageNet samples (ImageNet terms: non-commercial research) and 4,009 Caltech-101 photos (CC BY 4.0); no labels were used",
    "never_trained_on": "CamVid, MSRC, and the demo images of scikit-learn and gradio",
}

RECORD = Path(__file__).parents[1] / "docs" / "distillation.md"


def speed_text(record: str) -> str:
    """The card's speed table, out of the depth table in ``docs/distillation.md``.

    Raises:
        ValueError: the record has no row of the embedded student or of the one it is compared with.
    """
    rows = []
    for name, said in (("student, 10 blocks (embedded)", "this backbone"), ("student, 6 blocks", "a student of 6 blocks, for comparison")):
        [row] = [line for line in record.splitlines() if line.startswith(f"| {name} |")]
        small, large = re.findall(r"\| (\d+ / \d+) ", row)
        rows.append(f"| {said}, ms in fp32 / bf16 | {small} | {large} |")
    table = "\n".join(rows)
    return f"""| speed, one image, best of 12 | 224×224 | 448×448 |
|---|---|---|
{table}

One thread of an Intel Xeon (2.2 GHz, AMX) that others were using at the same time: trust ratios, not milliseconds. It has the
shape of its teacher, so the teacher's time. Measured by `benchmarks/distillation.py`; the table of all depths is in docs/distillation.md.
"""


def card_text(card: dict[str, Any], megabytes: float, speed: str) -> str:
    """The card for people."""
    scores = "\n".join(f"| {name} | {value} |" for name, value in card["scores"].items())
    settings = card["settings"]
    return f"""# The embedded default backbone

A ViT-S with patch 14 and {settings["depth"]} blocks, {megabytes:.1f} MB ({card["precision"]}, one scale per output channel, dequantised when it is loaded).
`models.backbone_sources.load_backbone("default")` reads it; features are the last block's patch tokens after the final norm.

- **Teacher**: {card["teacher"]}; target: block {card["teacher_block"]} (0-based) after the final norm, patch and CLS tokens,
  averaged over these ways of seeing a view: {", ".join(settings["targets"])}.
- **Licence**: {card["licence"]}.
- **Training images**: {card["training_images"]}. The ImageNet samples are licensed for non-commercial research;
  whether that binds a model trained on them is for you to judge.
- **Never trained on**: {card["never_trained_on"]}.
- **How**: the student starts as the teacher's first {settings["depth"]} blocks; then every weight is trained for {settings["steps"]} steps of
  about {settings["tokens"]} patch tokens, drawn from {card["images"]} images ({len(card["skipped"])} skipped), seed {settings["seed"]},
  in {card["hours"]} hours on {card["threads"]} CPU thread(s) of a busy two-core machine. So short a run sees about half of the images, once each.
- **Command**: `{card["command"]}`

| measure | value |
|---|---|
{scores}
| cosine to the teacher's standardised patches, held-out training-set images | {card["held_out_cosine"]} |

{speed}
Known limits: trained briefly and on few images; meant for frozen features and clusters, not for fine classification. How it was chosen: docs/distillation.md.
"""


def main() -> None:
    """Write the weights and both cards."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("student", type=Path, nargs="?")
    parser.add_argument("--precision", choices=("fp16", "int8"), default="int8")
    parser.add_argument("--scores", type=Path)
    parser.add_argument("--command")
    parser.add_argument("--cards", action="store_true")
    options = parser.parse_args()
    out = default_backbone_path()
    if not options.cards:
        if not (options.student and options.scores and options.command):
            parser.error("a student, --scores and --command are needed, or --cards")
        card = {**read_header(options.student)["card"], **TERMS, "command": options.command, "precision": options.precision}
        card["scores"] = json.loads(options.scores.read_text())
        save_backbone(out, read_backbone(options.student), precision=options.precision, card=card)
    card = {**read_header(out)["card"], "fingerprint": read_backbone(out).fingerprint}
    out.with_name("backbone.card.json").write_text(json.dumps(card, indent=2) + "\n")
    out.with_name("backbone.card.md").write_text(card_text(card, out.stat().st_size / 1e6, speed_text(RECORD.read_text())))
    print(f"{out}: {out.stat().st_size / 1e6:.1f} MB, fingerprint {card['fingerprint']}")


if __name__ == "__main__":
    main()
