"""Events of one browser tab that are handled at the same time: none undoes what another did."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_segmenter import FakeSegmenter
from sample_photo import photo

from api.catalog import Catalog
from models.errors import StegoError
from ui.compare import CompareDesk, Setting
from ui.desk import Desk
from ui.held import Held
from ui.sitting import Sitting
from ui.workshop import Workshop

WAIT = 10


class Pause:
    """A runner that holds the next piece of work, once it is done, until it is let go."""

    def __init__(self) -> None:
        self.armed = False
        self.reached, self.go_on = threading.Event(), threading.Event()

    def __call__(self, work: Callable[[], Any]) -> Any:
        found = work()
        if self.armed:
            self.armed = False
            self.reached.set()
            assert self.go_on.wait(WAIT)
        return found

    def meanwhile(self, slow: Callable[[], Any], quick: Callable[[], Any]) -> None:
        """Do ``quick`` in the middle of ``slow``; where it has to wait for it, after it."""
        threads = [threading.Thread(target=action, daemon=True) for action in (slow, quick)]
        self.armed = True
        threads[0].start()
        assert self.reached.wait(WAIT)
        threads[1].start()
        threads[1].join(0.2)
        self.go_on.set()
        for thread in threads:
            thread.join(WAIT)
            assert not thread.is_alive()


@pytest.fixture
def pause() -> Pause:
    return Pause()


@pytest.fixture
def shop(pause: Pause, tmp_path: Path) -> Workshop:
    return Workshop(Catalog({"default": FakeSegmenter()}), tmp_path, 100_000, pause)


def photo_file(folder: Path, height: int, width: int) -> Path:
    file = folder / f"{height}x{width}.png"
    file.write_bytes(photo(height, width))
    return file


def test_a_rename_while_the_slider_moves_is_kept(pause: Pause, shop: Workshop, tmp_path: Path) -> None:
    desk = Desk(shop)
    desk.open("tab", photo_file(tmp_path, 60, 80), "default", classes=9, crf=1.0)
    pause.meanwhile(lambda: desk.again("tab", classes=5, crf=1.0), lambda: desk.edit("tab", "rename", [0], "sky"))
    sitting = desk.need("tab")
    assert (sum(sitting.steps), sitting.classes) == (1, 5)
    assert "sky" in sitting.segmentation.names


def test_a_photo_that_was_taken_away_does_not_come_back(pause: Pause, shop: Workshop, tmp_path: Path) -> None:
    desk = Desk(shop)
    desk.open("tab", photo_file(tmp_path, 60, 80), "default", classes=9, crf=1.0)
    pause.meanwhile(lambda: desk.again("tab", classes=5, crf=1.0), lambda: desk.drop("tab"))
    assert desk.find("tab") is None


def test_a_photo_dropped_while_another_is_compared_is_the_one_that_stays(pause: Pause, shop: Workshop, tmp_path: Path) -> None:
    benches = CompareDesk(shop)
    setting = Setting("default", 9, 1.0)
    first, second = photo_file(tmp_path, 60, 80), photo_file(tmp_path, 50, 90)
    benches.open("tab", first)
    pause.meanwhile(lambda: benches.compare("tab", setting, setting), lambda: benches.open("tab", second))
    assert benches.compare("tab", setting, setting).overlays[0].shape == (50, 90, 3)


def test_turns_are_each_tabs_own_and_are_let_go_of_after_a_problem_too() -> None:
    held: Held[Sitting] = Held(1)
    entered: list[str] = []

    def enter(tab: str) -> None:
        with held.changing(tab):
            entered.append(tab)
            if tab == "ill":
                raise StegoError("a problem")

    with held.changing("tab"):
        enter("other tab")
        waiting = threading.Thread(target=enter, args=("tab",), daemon=True)
        waiting.start()
        waiting.join(0.05)
        assert entered == ["other tab"]
    waiting.join(WAIT)
    assert entered == ["other tab", "tab"]
    with pytest.raises(StegoError):
        enter("ill")
    assert held._turns == {}
