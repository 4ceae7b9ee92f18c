"""The words' file and the mapping made by hand: what is read, and each kind of bad input by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.errors import StegoError
from stego_app.classes import class_table
from stego_app.naming.mapping import read_mapping
from stego_app.naming.words import Word, parse_words, read_words

TABLE = class_table(np.array([[0, 1], [2, 3]]), np.array([0.5, 0.3, 0.2]), (), 3)


def test_words_with_other_ways_to_say_them(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_text("# things\nroad: street, wet_asphalt\n\n  traffic_light \n", encoding="utf-8")
    assert read_words(path) == [Word("road", ("road", "street", "wet asphalt")), Word("traffic_light", ("traffic light",))]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no words; expected 2 or more"),
        ("# only this\n", "no words; expected 2 or more"),
        ("road\n", "only one word; expected 2 or more"),
        ("road\ncar\nRoad\n", "line 3: 'Road' is there already, in line 1"),
        ("road\nnone of these\n", "line 2: 'none of these' is said of classes"),
        ("road\n: street\n", "line 2: class name ''"),
        ("road\n" + "x" * 99 + "\n", "line 2: class name"),
        ("\n".join(f"word {number}" for number in range(1001)), "1001 words; expected at most 1000"),
    ],
)
def test_a_bad_list_of_words_is_named(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "words.txt"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(StegoError, match=r"words\.txt") as caught:
        read_words(path)
    assert said in str(caught.value)


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(StegoError, match=r"no\.txt: cannot be read"):
        read_words(tmp_path / "no.txt")
    (tmp_path / "b.txt").write_bytes(b"\xff\xfe\x00road")
    with pytest.raises(StegoError, match=r"b\.txt: not a text file in UTF-8"):
        read_words(tmp_path / "b.txt")


def test_one_prompt_is_enough() -> None:
    assert [word.name for word in parse_words(["road"], where="--prompt", unit="word", least=1)] == ["road"]


def test_a_mapping_is_a_changed_classes_csv(tmp_path: Path) -> None:
    path = tmp_path / "classes.csv"
    path.write_text("id,name,color,share\n0,soil,#000000,0.5\n1,,#ffffff,0.3\n2,leaf,#00ff00,0.2\n", encoding="utf-8")
    assert read_mapping(path, TABLE) == {0: "soil", 2: "leaf"}


def test_names_of_a_mapping_that_are_not_changed_are_no_edits(tmp_path: Path) -> None:
    path = tmp_path / "classes.csv"
    path.write_text(f"id,name\n0,{TABLE.names[0]}\n1,{TABLE.names[1]}\n2,leaf\n", encoding="utf-8")
    assert read_mapping(path, TABLE) == {2: "leaf"}
    path.write_text(f"id,name\n0,{TABLE.names[0]}\n", encoding="utf-8")
    with pytest.raises(StegoError, match=r"classes\.csv: all classes that it names are called so already"):
        read_mapping(path, TABLE)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("id,name\n7,soil\n", "line 2: class 7 does not exist; expected 0 to 2"),
        ("id,name\nfirst,soil\n", "line 2: 'first' is not a class"),
        ("id,name\n0,soil\n0,leaf\n", "line 3: class 0 is named already, 'soil'"),
        ("label,title\n0,soil\n", "line 2: expected the columns id and name"),
        ("id,name\n0,\n", "names no class"),
        ("", "names no class"),
        ("id,name\n0," + "x" * 99 + "\n", "line 2: class name"),
    ],
)
def test_a_bad_mapping_is_named(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "mapping.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(StegoError, match=r"mapping\.csv") as caught:
        read_mapping(path, TABLE)
    assert said in str(caught.value)
