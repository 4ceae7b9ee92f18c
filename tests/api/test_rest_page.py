"""What docs/rest.md says of an answer, of options and of stopping is what the service does."""

from __future__ import annotations

import json
import re
from pathlib import Path

from api.options import SegmentOptions
from api.schemas import SegmentSummary
from api.settings import ServiceSettings

PAGE = (Path(__file__).parents[2] / "docs" / "rest.md").read_text(encoding="utf-8")


def test_the_whole_answer_is_whole() -> None:
    block = re.search(r"```json\n(\{\n  \"width\".*?)```", PAGE, re.DOTALL)
    assert block is not None
    shown = json.loads(block[1])
    assert SegmentSummary.model_validate(shown, strict=True).model_dump() == shown


def test_every_option_is_in_the_table() -> None:
    table = PAGE.split("### Options")[1].split("###")[0]
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == list(SegmentOptions.model_fields)


def test_how_long_stopping_takes() -> None:
    assert f"for at most {ServiceSettings().shutdown_grace} s" in PAGE
