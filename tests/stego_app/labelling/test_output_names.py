"""Names of results never collide, whatever the images are called."""

from __future__ import annotations

from pathlib import PurePosixPath

from hypothesis import given
from hypothesis import strategies as st

from stego_app.labelling.names import output_names


def names(*images: str) -> list[str]:
    return list(output_names(PurePosixPath(image) for image in images).values())


def test_a_name_is_the_path_without_suffix() -> None:
    assert names("a.jpg", "sub/a.jpg", "b.c.png") == ["a", "sub/a", "b.c"]


def test_equal_stems_keep_their_suffix() -> None:
    assert names("x/a.jpg", "x/a.png", "x/b.png") == ["x/a.jpg", "x/a.png", "x/b"]


def test_stems_that_differ_in_case_only_count_as_equal() -> None:
    assert names("a.jpg", "A.png") == ["a.jpg", "A.png"]


def test_a_kept_suffix_does_not_hit_another_stem() -> None:
    assert names("a.jpg", "a.png", "a.jpg.png") == ["a.jpg", "a.png", "a.jpg.png"]


NAMES = st.builds(
    lambda folder, stem, suffixes: f"{folder}{stem}{''.join(suffixes)}",
    st.sampled_from(["", "d/", "d/a.jpg/"]),
    st.sampled_from(["a", "A", "b", "a.png"]),
    st.lists(st.sampled_from([".jpg", ".png", ".PNG"]), min_size=1, max_size=3),
)


@given(st.lists(NAMES, unique_by=str.casefold, max_size=12))
def test_results_never_collide_and_do_not_depend_on_order(images: list[str]) -> None:
    paths = [PurePosixPath(image) for image in images]
    result = output_names(paths)
    assert len({name.casefold() for name in result.values()}) == len(paths)
    assert output_names(reversed(paths)) == result
