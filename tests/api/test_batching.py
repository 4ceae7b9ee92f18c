"""Batches of concurrent requests: they form, they part by segmenter, and a bad image fails alone."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from fake_segmenter import FakeSegmenter

from api.batching import Batcher
from api.pixels import PixelBudget
from models.errors import StegoError


class Recorder:
    """Encodes an image to its sum; refuses images that hold 13."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.opened = threading.Event()
        self.opened.set()

    def encode_many(self, images: Sequence[np.ndarray], *, flip: bool = False) -> list[Any]:
        self.batches.append(len(images))
        assert self.opened.wait(20)
        if any((image == 13).any() for image in images):
            raise StegoError("an image that holds 13")
        return [(int(image.sum()), flip) for image in images]


def image(value: int) -> np.ndarray:
    return np.full((2, 2, 3), value, np.uint8)


def wait_until(condition: Any) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_what_arrives_while_a_batch_is_computed_goes_together() -> None:
    recorder, sizes = Recorder(), []
    batcher = Batcher(most=4, window=0, observe=sizes.append)
    recorder.opened.clear()
    with ThreadPoolExecutor(8) as threads:
        first = threads.submit(batcher.encode, recorder, image(1), flip=False)
        wait_until(lambda: recorder.batches == [1])
        rest = [threads.submit(batcher.encode, recorder, image(value), flip=False) for value in range(2, 8)]
        wait_until(lambda: len(batcher._waiting) == 6)
        recorder.opened.set()
        assert [future.result(10) for future in (first, *rest)] == [(12 * value, False) for value in range(1, 8)]
    assert recorder.batches == sizes == [1, 4, 2]


def test_a_window_gathers_those_that_set_out_together() -> None:
    recorder = Recorder()
    batcher = Batcher(most=3, window=10)
    begun = time.monotonic()
    with ThreadPoolExecutor(3) as threads:
        assert list(threads.map(lambda value: batcher.encode(recorder, image(value), flip=False)[0], range(3))) == [0, 12, 24]
    assert recorder.batches == [3]
    assert time.monotonic() - begun < 9  # a full batch does not wait for the window's end


def test_a_batch_of_one_switches_batching_off() -> None:
    recorder = Recorder()
    batcher = Batcher(most=1, window=1)
    with ThreadPoolExecutor(4) as threads:
        assert sorted(threads.map(lambda value: batcher.encode(recorder, image(value), flip=False)[0], range(4))) == [0, 12, 24, 36]
    assert recorder.batches == [1, 1, 1, 1]


def test_other_segmenters_and_other_options_do_not_go_along() -> None:
    one, two = Recorder(), Recorder()
    batcher = Batcher(most=8, window=0.3)
    with ThreadPoolExecutor(4) as threads:
        asked = [(one, 1, False), (two, 2, False), (one, 3, True), (one, 4, False)]
        answers = list(threads.map(lambda each: batcher.encode(each[0], image(each[1]), flip=each[2]), asked))
    assert answers == [(12, False), (24, False), (36, True), (48, False)]
    assert sorted(one.batches) == [1, 2]
    assert two.batches == [1]


def test_an_image_that_fails_fails_alone() -> None:
    recorder = Recorder()
    batcher = Batcher(most=3, window=10)
    with ThreadPoolExecutor(3) as threads:
        futures = [threads.submit(batcher.encode, recorder, image(value), flip=False) for value in (1, 13, 2)]
        assert futures[0].result(10) == (12, False)
        assert futures[2].result(10) == (24, False)
        with pytest.raises(StegoError, match="13"):
            futures[1].result(10)
    assert recorder.batches == [3, 1, 1, 1]


def test_closing_gives_up_what_is_computed_and_what_waits_and_refuses_more() -> None:
    gate = threading.Event()
    slow = FakeSegmenter(on_encode=lambda: gate.wait(10))
    recorder = Recorder()
    batcher = Batcher(most=1, window=0)
    with ThreadPoolExecutor(2) as threads:
        computed = threads.submit(batcher.encode, slow, image(1), flip=False)
        wait_until(lambda: len(batcher._under_way) == 1)
        waiting = threads.submit(batcher.encode, recorder, image(1), flip=False)
        wait_until(lambda: len(batcher._waiting) == 1)
        batcher.close()
        for told in (computed, waiting):
            with pytest.raises(StegoError, match="shutting down"):
                told.result(4)
    gate.set()
    assert recorder.batches == []
    with pytest.raises(StegoError, match="shutting down"):
        batcher.encode(recorder, image(1), flip=False)


def test_the_fake_segmenter_is_asked_in_batches_too() -> None:
    fake = FakeSegmenter()
    Batcher(most=8, window=0).encode(fake, image(1), flip=False)
    assert fake.batches == [1]


def test_pixels_in_work_stay_within_the_budget_and_a_large_image_gets_its_turn() -> None:
    budget = PixelBudget(100)
    most, lock, order = 0, threading.Lock(), []

    def work(pixels: int) -> None:
        nonlocal most
        with budget.hold(pixels):
            with lock:
                most = max(most, budget.held)
                order.append(pixels)
            time.sleep(0.01)

    with ThreadPoolExecutor(12) as threads:
        for pixels in (40, 40, 1000, *[40] * 9):
            threads.submit(work, pixels)
            time.sleep(0.002)
    assert most == 100  # more than all of it counts as all of it
    assert budget.held == 0
    assert order.index(1000) <= 3
