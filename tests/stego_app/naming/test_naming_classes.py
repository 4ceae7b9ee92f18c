"""Naming through the command line and Python, with a tower whose answers are known; and the real one on a tiny scale."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from known_words import WORDS, KnownSentences, known_bridge
from PIL import Image
from torch.nn.functional import normalize
from typer.testing import CliRunner

from models.backbone import Backbone
from models.errors import StegoError
from models.head import SegmentationHead
from models.text.bridge import save_bridge
from models.text.sentences import MiniLm
from stego_app.cli import app
from stego_app.clusters import ClusterModel
from stego_app.naming.bridge_tower import BridgeTower
from stego_app.naming.name_classes import name_classes, rename_classes
from stego_app.naming.prompted import PromptedSegmenter
from stego_app.naming.prototypes import class_prototypes, cluster_prototypes
from stego_app.naming.words import Word, parse_words
from stego_app.segmenter import Segmenter
from stego_app.segmenter_file import SegmenterModel, SegmenterSettings, read_segmenter, save_segmenter

FINE, WIDTH = 4, 192


@pytest.fixture
def segmenter(tiny_backbone: Backbone) -> Segmenter:
    """Four fine clusters that look like tree, road, road again, and nothing that has a word."""
    torch.manual_seed(0)
    clusters = ClusterModel(
        mean=torch.zeros(WIDTH),
        metric=torch.eye(WIDTH),
        head=SegmentationHead(WIDTH, 8),
        fine=normalize(torch.randn(FINE, 8), dim=1),
        temperature=0.1,
        merges=np.array([[1, 2], [0, 4], [3, 5]]),
        classes=4,
    )
    prototypes = np.zeros((FINE, WIDTH), np.float32)
    for leaf, axis in enumerate((1, 0, 0, 100)):
        prototypes[leaf, axis] = 0.7
    settings = SegmenterSettings(resolution=64)
    return Segmenter(SegmenterModel(tiny_backbone, "tiny", clusters, np.array([0.4, 0.3, 0.2, 0.1]), settings, prototypes=prototypes), device="cpu")


@pytest.fixture
def path(segmenter: Segmenter, tmp_path: Path) -> Path:
    segmenter.save(tmp_path / "s.safetensors")
    return tmp_path / "s.safetensors"


@pytest.fixture
def bridge_file(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(MiniLm, "load", classmethod(lambda _cls: KnownSentences(WIDTH)))
    # The file keeps its backbone in half precision, which is another backbone to the last bit.
    save_bridge(tmp_path / "bridge.safetensors", known_bridge(Segmenter.load(path).model.backbone.fingerprint, WIDTH), {})
    return tmp_path / "bridge.safetensors"


def run(*arguments: object) -> tuple[int, str, BaseException | None]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return result.exit_code, result.output, result.exception


def test_each_class_gets_its_word_or_none(segmenter: Segmenter, tiny_backbone: Backbone) -> None:
    words = parse_words(WORDS, where="words", unit="word")
    found = name_classes(segmenter, words, BridgeTower(known_bridge(tiny_backbone.fingerprint, WIDTH), KnownSentences(WIDTH)))
    by_leaf = {segmenter.table().classes[entry.label].leaves: entry for entry in found}
    assert {leaves: entry.name for leaves, entry in by_leaf.items()} == {(0,): "tree", (1,): "road", (2,): "road", (3,): None}
    tree = by_leaf[(0,)]
    anchor = 1 / np.sqrt(WIDTH)
    scores = np.array([0, 2, 0, 0]) - 2 * anchor
    chances = np.exp(np.append(scores, 0.5) / 0.2)
    assert tree.confidence == pytest.approx(chances[1] / chances.sum(), abs=1e-4)
    assert tree.candidates[0][0] == "tree"
    assert by_leaf[(3,)].shown == "none of these"
    strict = name_classes(segmenter, words, BridgeTower(known_bridge(tiny_backbone.fingerprint, WIDTH), KnownSentences(WIDTH)), least=0.9999)
    assert all(entry.name is None for entry in strict)


def test_a_coarser_class_is_the_mean_of_its_leaves(segmenter: Segmenter) -> None:
    assert segmenter.model.prototypes is not None
    table = segmenter.table(2)
    rows = class_prototypes(segmenter.model.prototypes, segmenter.model.shares, table)
    joined = next(entry for entry in table.classes if len(entry.leaves) == 3)
    expected = (0.4 * segmenter.model.prototypes[0] + 0.3 * segmenter.model.prototypes[1] + 0.2 * segmenter.model.prototypes[2]) / 0.9
    np.testing.assert_allclose(rows[joined.label], expected, rtol=1e-5)


def test_prototypes_are_means_of_the_nearest_tokens(segmenter: Segmenter) -> None:
    clusters = segmenter.model.clusters
    tokens = np.random.default_rng(0).normal(size=(200, WIDTH)).astype(np.float32)
    nearest = clusters.fine_logits(torch.from_numpy(tokens)).argmax(1).numpy()
    unit = tokens / np.linalg.norm(tokens, axis=1, keepdims=True)
    found = cluster_prototypes(clusters, tokens)
    for leaf in range(FINE):
        expected = unit[nearest == leaf].mean(0) if (nearest == leaf).any() else np.zeros(WIDTH)
        np.testing.assert_allclose(found[leaf], expected, atol=1e-5)


def test_prototypes_travel_in_the_file_and_wrong_ones_are_refused(segmenter: Segmenter, tmp_path: Path) -> None:
    segmenter.save(tmp_path / "s.safetensors")
    read = read_segmenter(tmp_path / "s.safetensors")
    assert read.prototypes is not None
    np.testing.assert_allclose(read.prototypes, segmenter.model.prototypes, atol=1e-3)
    save_segmenter(tmp_path / "bad.safetensors", replace(segmenter.model, prototypes=np.zeros((2, 3), np.float32)))
    with pytest.raises(StegoError, match=r"bad\.safetensors.*prototypes of shape"):
        read_segmenter(tmp_path / "bad.safetensors")


def test_the_command_names_classes_and_classes_can_undo_it(path: Path, bridge_file: Path, tmp_path: Path) -> None:
    words = tmp_path / "words.txt"
    words.write_text("\n".join(WORDS))
    code, output, _ = run("name", path, "--words", words, "--tower", bridge_file, "--dry-run")
    assert (code, "nothing was written" in output) == (0, True)
    code, output, error = run("name", path, "--words", words, "--tower", bridge_file)
    assert code == 0, (output, error)
    assert "none of these" in output
    names = sorted(Segmenter.load(path).class_names())
    assert names[0].startswith("class ")  # the one that no word fits
    assert names[1:] == ["road 1", "road 2", "tree"]
    assert run("classes", path, "--undo", "3")[0] == 0
    assert sorted(Segmenter.load(path).class_names()) == [f"class {label}" for label in range(4)]


def test_images_that_cannot_be_read_end_the_command_with_1_once_names_are_written(path: Path, bridge_file: Path, image_folder: Path, tmp_path: Path) -> None:
    photos = shutil.copytree(image_folder, tmp_path / "photos")
    (photos / "bad.png").write_bytes(b"no image")
    words = tmp_path / "words.txt"
    words.write_text("\n".join(WORDS))
    code, output, error = run("name", path, "--words", words, "--tower", bridge_file, "--images", photos, "--classes", 1)
    assert code == 1, (output, error)
    assert "none of the words fits" in output or "wrote" in output
    assert "could not read" in output
    assert "bad.png: not an image" in output


def test_the_command_takes_a_mapping(path: Path, tmp_path: Path) -> None:
    mapping = tmp_path / "classes.csv"
    mapping.write_text("id,name\n0,soil\n2,leaf\n")
    code, output, error = run("name", path, "--mapping", mapping, "--out", tmp_path / "named.safetensors")
    assert code == 0, (output, error)
    names = Segmenter.load(tmp_path / "named.safetensors").class_names()
    assert (names[0], names[2]) == ("soil", "leaf")
    assert Segmenter.load(path).class_names()[0] == "class 0"


def test_images_stand_in_for_prototypes(segmenter: Segmenter, bridge_file: Path, image_folder: Path, tmp_path: Path) -> None:
    save_segmenter(tmp_path / "old.safetensors", replace(segmenter.model, prototypes=None))
    words = tmp_path / "words.txt"
    words.write_text("\n".join(WORDS))
    code, _, error = run("name", tmp_path / "old.safetensors", "--words", words, "--tower", bridge_file, "-k", 2)
    assert code != 0
    assert "give images that show them: --images FOLDER" in str(error)
    code, output, error = run("name", tmp_path / "old.safetensors", "--words", words, "--tower", bridge_file, "--images", image_folder, "-k", 1, "--dry-run")
    assert code == 0, (output, error)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "expected either --words FILE"),
        (["--words", "w", "--mapping", "m"], "expected either --words FILE"),
        (["--words", "no.txt"], "no.txt: cannot be read"),
    ],
)
def test_bad_requests_are_one_line(path: Path, arguments: list[str], said: str) -> None:
    code, _, error = run("name", path, *arguments)
    assert code != 0
    assert isinstance(error, StegoError)
    assert said in str(error)


def test_the_built_in_segmenter_needs_a_name_for_the_result(tmp_path: Path) -> None:
    _, _, error = run("name", "default", "--mapping", tmp_path / "m.csv")
    assert "'default' is built in" in str(error)


def test_a_bridge_for_another_backbone_is_refused(bridge_file: Path) -> None:
    save_bridge(bridge_file, known_bridge("0123456789abcdef", WIDTH), {})
    with pytest.raises(StegoError, match="fitted to the backbone 0123456789abcdef, the segmenter has feed; fit one"):
        BridgeTower.load(str(bridge_file), "feed")
    with pytest.raises(StegoError, match="tower 'glove': expected bridge"):
        BridgeTower.load("glove", "feed")


def test_names_that_several_classes_get_are_numbered(segmenter: Segmenter) -> None:
    named = rename_classes(segmenter, [(0, "road"), (1, "sky"), (3, "road")])
    assert [named.class_names()[label] for label in (0, 1, 3)] == ["road 1", "sky", "road 2"]
    assert len(named.edits) == 3


def test_prompts_label_a_folder_in_every_format_asked_for(path: Path, bridge_file: Path, image_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    # Few images need no worker processes, whose start would take most of the time.
    code, output, error = run(
        "label",
        image_folder / "photo0.png",
        image_folder / "photo1.png",
        out,
        "--model",
        path,
        "--prompt",
        "road",
        "--prompt",
        "tree: bush",
        "--tower",
        bridge_file,
        "--no-crf",
        "--format",
        "coco",
    )
    assert code == 0, (output, error)
    assert (out / "classes.csv").read_text().splitlines()[1].startswith("0,road,")
    labels = np.asarray(Image.open(out / "labels" / "photo0.png"))
    assert set(np.unique(labels)) <= {0, 1, 255}
    _, _, error = run("label", image_folder, out, "--prompt", "road", "--classes", "3")
    assert "--prompt brings its own classes" in str(error)


def test_a_patch_gets_the_word_that_it_looks_like(segmenter: Segmenter, tiny_backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    image = np.zeros((64, 64, 3), np.uint8)
    encoded = replace(segmenter.encode(image), tokens=torch.eye(WIDTH)[[0, 1, 2, 3, 100] * 3 + [0]])
    monkeypatch.setattr(segmenter, "encode_many", lambda _images, **_options: [encoded])
    words = [Word(name, (name,)) for name in WORDS]
    [maps] = PromptedSegmenter(segmenter, words, BridgeTower(known_bridge(tiny_backbone.fingerprint, WIDTH), KnownSentences(WIDTH))).class_probabilities(
        [image]
    )
    assert maps.shape == (5, 4, 4)
    np.testing.assert_allclose(maps.sum(0), 1, rtol=1e-5)
    assert maps.argmax(0).ravel().tolist() == [0, 1, 2, 3, 4] * 3 + [0]


def test_more_words_than_a_label_map_has_classes_are_refused(segmenter: Segmenter, tiny_backbone: Backbone) -> None:
    words = [Word(f"{WORDS[0]} {number}", (WORDS[0],)) for number in range(256)]
    with pytest.raises(StegoError, match="256 words: expected at most 255"):
        PromptedSegmenter(segmenter, words, BridgeTower(known_bridge(tiny_backbone.fingerprint, WIDTH), KnownSentences(WIDTH)))
