"""Damage to files, for fuzzing: bytes changed, cut, doubled, left out or taken from another file."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

_NUMBERS = [b"\x7f\xff\xff\xff", b"\xff\xff\xff\xff", b"\x00\x00\xff\xff", b"\xff\xff\x00\x00", b"\x80\x00\x00\x00"]


@st.composite
def damaged(draw: st.DrawFn, files: Sequence[bytes], *, end: bool = False) -> bytes:
    """One of ``files``, damaged up to six times; ``end``: its last bytes decide as much as its first."""
    data = bytearray(draw(st.sampled_from(files)))
    for _ in range(draw(st.integers(1, 6))):
        if not data:
            break
        # Headers decide most, so they are hit as often as all the rest.
        reach = draw(st.sampled_from([min(64, len(data)), len(data)]))
        at = draw(st.integers(0, reach - 1))
        if end and draw(st.booleans()):
            at = len(data) - 1 - min(at, draw(st.integers(0, len(data) - 1)))
        length = draw(st.integers(1, 40))
        change = draw(st.sampled_from(["set", "flip", "cut", "drop", "double", "zero", "ones", "splice", "number"]))
        if change == "set":
            data[at] = draw(st.integers(0, 255))
        elif change == "flip":
            data[at] ^= 1 << draw(st.integers(0, 7))
        elif change == "cut":
            del data[at:]
        elif change == "drop":
            del data[at : at + length]
        elif change == "double":
            data[at:at] = data[at : at + length]
        elif change in ("zero", "ones"):
            data[at : at + length] = bytes([0 if change == "zero" else 255]) * len(data[at : at + length])
        elif change == "splice":
            other = draw(st.sampled_from(files))
            data[at:] = other[min(at, len(other)) :]
        else:
            data[at : at + 4] = draw(st.sampled_from(_NUMBERS))
    return bytes(data)
