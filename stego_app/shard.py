"""Parts of a run that separate processes do, on one machine or many, into one folder; a run of the whole then gathers what they did."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from models.errors import StegoError


@dataclass(frozen=True)
class Shard:
    """Part ``number`` (from 1) of ``count``."""

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read "3/16".

        Raises:
            StegoError: it is something else.
        """
        found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
        if found is None or not 1 <= int(found[1]) <= int(found[2]):
            raise StegoError(f"--shard {text}: expected a part and how many there are, such as 3/16, from 1/16 to 16/16")
        return cls(int(found[1]), int(found[2]))

    def takes(self, name: str) -> bool:
        """Whether the image ``name`` is in this part: a function of the name, so that parts agree without a word, whatever comes into the folder meanwhile."""
        drawn = hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()
        return int.from_bytes(drawn[:8], "big") % self.count == self.number - 1

    @property
    def manifest(self) -> str:
        """The file of what this part has done: no two processes write into one."""
        return f"manifest.{self.number}-of-{self.count}.jsonl"
