"""Which images and clips are done: what the manifest says, checked against the files that are there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stego_app.labelling.clip import frame_plan
from stego_app.labelling.manifest import Entry, Manifest, Unwritten
from stego_app.labelling.names import Plan
from stego_app.labelling.settings import LabelSettings
from stego_app.progress import Progress


@dataclass
class Ledger:
    """What is done under one segmenter (``model``, its fingerprint) and ``settings`` (``digest``)."""

    out: Path
    settings: LabelSettings
    model: str
    digest: str
    manifest: Manifest | Unwritten

    def what_is_left(self, plans: Sequence[Plan], progress: Progress, known: frozenset[str] = frozenset()) -> list[Plan]:
        """Plans whose results are missing or were made from other bytes, by another segmenter or with other settings."""
        left = []
        for number, plan in enumerate(plans):
            if not self._is_done(plan, plan.name in known):
                left.append(plan)
            if self.manifest.entries:
                progress("checking", number + 1, len(plans))
        return left

    def _is_done(self, plan: Plan, is_known: bool) -> bool:
        entry = self.manifest.entries.get(plan.name)
        if plan.is_clip:
            parts = self.parts(plan) if entry is not None and not entry.reason and entry.sha256 == plan.image.digest() else []
            shown = not self.settings.overlays or (self.out / plan.overlay).is_file()
            return bool(parts) and shown and all(map(self._has_labels, parts))
        if entry is None or not self._is_current(entry) or entry.label != plan.label:
            return False
        if not (self.out / plan.label).is_file() or (self.settings.overlays and not (self.out / plan.overlay).is_file()):
            return False
        if self.settings.asks_confidence and entry.confidence is None:
            return False
        if self.settings.confidence and not (self.out / plan.confidence).is_file():
            return False
        return is_known or entry.sha256 == plan.image.digest()

    def _has_labels(self, frame: Plan) -> bool:
        needed = [frame.label, *([frame.confidence] if self.settings.confidence else [])]
        return all((self.out / name).is_file() for name in needed) and (not self.settings.formats or frame.image.path.is_file())

    def parts(self, plan: Plan) -> list[Plan]:
        """The image itself; of a clip, its frames if it is done."""
        if not plan.is_clip:
            return [plan]
        entry = self.manifest.entries.get(plan.name)
        if entry is None or (entry.status, entry.model, entry.settings) != ("clip", self.model, self.digest):
            return []
        return [frame_plan(plan, number, self.out) for number in range(entry.frames or 0)]

    def _is_current(self, entry: Entry) -> bool:
        return (entry.status, entry.model, entry.settings) == ("done", self.model, self.digest)

    def current(self, plans: Sequence[Plan]) -> list[Entry]:
        """What is known of each image, and each frame of a clip, that is done."""
        parts = (part for plan in plans for part in self.parts(plan))
        return [entry for part in parts if (entry := self.manifest.entries.get(part.name)) and self._is_current(entry)]
