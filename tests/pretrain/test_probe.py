"""Probes of frozen backbones against independent calculations, and end to end on generated images."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from sklearn.cluster import KMeans
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from typer.testing import CliRunner

from models.backbone import Backbone, BackboneOutput, BackboneSpec, build_vit, save_backbone
from models.errors import StegoError
from pretrain.curate.whitening import unit
from pretrain.probe import make_settings, probe
from pretrain.probe.attention import attention_maps
from pretrain.probe.classes import class_split
from pretrain.probe.dense import nearest_centroid
from pretrain.probe.images import FEATURES
from pretrain.probe.knn import knn_predict
from pretrain.probe.pictures import PLAIN, RIGHT, mosaic
from stego_app.cli import app
from tests.conftest import textured_image

SPEC = BackboneSpec("vit_tiny_patch16_224", depth=2, block=1, patch_size=8, dim=192, grid=8, method="random")


def random_backbone() -> Backbone:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Backbone(build_vit(SPEC), SPEC).eval()


@pytest.fixture(scope="module")
def backbone_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("backbone") / "b.safetensors"
    save_backbone(path, random_backbone(), precision="fp32")
    return path


def write_class(folder: Path, color: tuple[int, int, int], count: int, seed: int) -> None:
    folder.mkdir(parents=True)
    for number in range(count):
        noise = np.random.default_rng((seed, number)).normal(0, 12, (40, 48, 3))
        Image.fromarray(np.clip(np.array(color) + noise, 0, 255).astype(np.uint8)).save(folder / f"{number}.png")


@pytest.fixture
def class_folders(tmp_path: Path) -> Path:
    """Two classes that colour tells apart, eight images each, and one class of a single image."""
    root = tmp_path / "classes"
    write_class(root / "blue", (60, 90, 210), 8, 0)
    write_class(root / "red", (210, 70, 50), 8, 1)
    write_class(root / "alone", (10, 240, 10), 1, 2)
    return root


@pytest.fixture
def labelled_folder(tmp_path: Path) -> Path:
    """Six scenes with label maps of two classes: sky (blue), and everything below it."""
    root = tmp_path / "scenes"
    for number in range(6):
        image = textured_image(64, 80, number)
        label = (image[..., 2] < 180).astype(np.uint8)
        label[:2] = 255
        for name, pixels in (("images", image), ("labels", label)):
            (root / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(root / name / f"{number}.png")
    (root / "meta.json").write_text(json.dumps({"classes": ["sky", "ground"]}))
    return root


def test_knn_is_scikit_learns() -> None:
    random = np.random.default_rng(0)
    rows, labels = unit(random.standard_normal((80, 5))), random.integers(0, 3, 80)
    queries = unit(random.standard_normal((30, 5)))

    def weights(distances: np.ndarray) -> np.ndarray:
        return np.exp((1 - distances) / 0.07)  # scikit-learn's cosine distance is 1 - similarity

    expected = KNeighborsClassifier(20, metric="cosine", weights=weights).fit(rows, labels).predict(queries)
    assert (knn_predict(rows, labels, queries, 3) == expected).all()
    assert (knn_predict(rows, labels, rows, 3, neighbours=1) == labels).all()
    assert knn_predict(rows[:4], labels[:4], queries, 3).shape == (30,)  # fewer images than neighbours


def test_nearest_centroid_is_that_of_scikit_learn_on_the_grid() -> None:
    random = np.random.default_rng(0)
    tokens = random.standard_normal((12, 6)).astype(np.float32)
    fitted = KMeans(3, n_init=1, random_state=0).fit(unit(tokens))
    found = nearest_centroid(torch.from_numpy(tokens), torch.from_numpy(fitted.cluster_centers_.astype(np.float32)), (3, 4), (3, 4))
    assert (found.ravel() == fitted.labels_).all()
    assert nearest_centroid(torch.from_numpy(tokens), torch.from_numpy(fitted.cluster_centers_.astype(np.float32)), (3, 4), (30, 44)).shape == (30, 44)


def test_attention_is_the_softmax_written_out() -> None:
    backbone = random_backbone()
    images = torch.rand((2, 3, 24, 40), generator=torch.Generator().manual_seed(0))
    found = attention_maps(backbone, images)
    seen: list[torch.Tensor] = []
    block = backbone.network.blocks[1]
    hook = block.norm1.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    with torch.no_grad():
        backbone(images)
        hook.remove()
        heads = block.attn.num_heads
        q, k, _ = (part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in block.attn.qkv(seen[0]).chunk(3, dim=-1))
        expected = torch.softmax(q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5, dim=-1)[:, :, 0, 1:]
    assert found.shape == (2, heads, 3, 5)
    torch.testing.assert_close(found.flatten(2), expected, atol=1e-5, rtol=1e-4)
    assert found.flatten(2).sum(dim=2).max() <= 1
    assert block.attn.fused_attn == random_backbone().network.blocks[1].attn.fused_attn  # as it was before


class WithoutCls(Backbone):
    """A ViT of patches alone."""

    def forward(self, images: torch.Tensor) -> BackboneOutput:
        tokens = self.network.forward_features(images)
        return BackboneOutput(tokens.transpose(1, 2).unflatten(2, (3, -1)), tokens.mean(dim=1))


def test_backbones_without_cls_token_and_of_unknown_attention() -> None:
    shape = {"img_size": 64, "patch_size": 8, "depth": 2, "class_token": False, "global_pool": "avg"}
    network = timm.create_model("vit_tiny_patch16_224", num_classes=0, dynamic_img_size=True, **shape)
    maps = attention_maps(WithoutCls(network.eval(), SPEC), torch.rand(1, 3, 24, 24))
    assert maps.shape == (1, 3, 3, 3)
    torch.testing.assert_close(maps.sum(dim=(2, 3)), torch.ones(1, 3))
    backbone = random_backbone()
    backbone.network.blocks[1].attn = torch.nn.Identity()
    with pytest.raises(StegoError, match="does not tell its weights"):
        attention_maps(backbone, torch.rand(1, 3, 24, 24))


def test_every_fourth_image_of_a_class_is_tested_on(class_folders: Path) -> None:
    split = class_split(class_folders)
    assert split is not None
    train, test, how = split
    assert np.bincount(train.labels, minlength=3).tolist() == [0, 6, 6]
    assert np.bincount(test.labels, minlength=3).tolist() == [0, 2, 2]
    assert train.names == ("alone", "blue", "red")
    assert set(train.rows.tolist()).isdisjoint(test.rows.tolist())
    assert "1 classes of one image left out" in how
    assert len(train.thinned(5, 0)) == 5


def test_class_folders_end_to_end(class_folders: Path, backbone_file: Path, tmp_path: Path) -> None:
    settings = make_settings(backbone=str(backbone_file), data=class_folders, out=tmp_path / "out", pictures=3, device="cpu", cache=tmp_path / "cache")
    report = probe(settings)
    assert report.about["resolution"] == 64  # what the backbone was made for
    assert [row[:2] for row in report.rows] == [(name, feature) for name in ("k-NN", "linear") for feature in FEATURES]
    assert report.scores["k-NN"]["patches"] == report.scores["linear"]["patches"] == 100  # colour tells them apart
    written = json.loads((tmp_path / "out" / "probe.json").read_text())
    assert written["scores"] == report.scores
    assert (written["train_images"], written["test_images"], written["failures"]) == (12, 4, [])
    assert written["pictures"] == ["neighbours.png", "components.png", "attention.png"]
    assert "| k-NN | patches | 100.0 % accuracy |" in (tmp_path / "out" / "probe.md").read_text()
    for name in written["pictures"]:
        with Image.open(tmp_path / "out" / name) as picture:
            assert np.asarray(picture).std() > 5
    assert probe(settings).as_dict() == report.as_dict()


def test_linear_accuracy_is_that_of_scikit_learn(class_folders: Path, backbone_file: Path, tmp_path: Path) -> None:
    from models.backbone_sources import load_backbone
    from pretrain.curate.embedding import Embedder
    from pretrain.probe.images import described, image_scores

    for place, path in enumerate(sorted((class_folders / "red").iterdir())[:3]):  # now colour alone does not do
        path.rename(class_folders / "blue" / f"moved{place}.png")
    split = class_split(class_folders)
    assert split is not None
    embedder = Embedder(load_backbone(str(backbone_file)), resolution=64, device="cpu", cache=tmp_path)
    train, test = (described(embedder, part, lambda *_: None, "x") for part in split[:2])
    scores = {(score.probe, score.feature): score.accuracy for score in image_scores(train, test, lambda *_: None)}
    for feature in FEATURES:
        rows, queries = train.features[feature], test.features[feature]
        mean, scale = rows.mean(axis=0), rows.std(axis=0).clip(1e-6)
        count = len(rows)
        model = LogisticRegression(C=1 / (1e-4 * count), max_iter=5000, tol=1e-8).fit((rows - mean) / scale, train.images.labels)
        assert scores["linear", feature] == pytest.approx(100 * model.score((queries - mean) / scale, test.images.labels), abs=100 / len(queries) + 1e-6)


def test_tar_files_of_classes(class_folders: Path, backbone_file: Path, tmp_path: Path) -> None:
    packed = tmp_path / "packed"
    packed.mkdir()
    for name, chosen in (("train", range(5)), ("test", range(5, 8))):
        with tarfile.open(packed / f"{name}.tar", "w") as archive:
            for kind in ("blue", "red"):
                for number in chosen:
                    archive.add(class_folders / kind / f"{number}.png", f"{name}/{kind}/{number}.png")
    report = probe(make_settings(backbone=str(backbone_file), data=packed, out=tmp_path / "out", pictures=0, device="cpu", cache=tmp_path / "cache"))
    assert (report.about["train_images"], report.about["test_images"]) == (10, 6)
    assert report.scores["k-NN"]["patches"] == 100
    assert not list((tmp_path / "out").glob("*.png"))


def test_label_maps_end_to_end(labelled_folder: Path, backbone_file: Path, tmp_path: Path) -> None:
    settings = make_settings(backbone=str(backbone_file), data=labelled_folder, out=tmp_path / "out", pictures=2, device="cpu", cache=tmp_path / "cache")
    report = probe(settings)
    assert (report.about["train_images"], report.about["test_images"], report.about["resolution"]) == (3, 3, 192)
    linear, kmeans = report.scores["linear"], report.scores["k-means, Hungarian"]
    assert linear["miou"] > 80  # blue or not is a linear question
    assert linear["miou"] >= kmeans["miou"] > 30
    assert [entry["name"] for entry in linear["per_class"]] == ["sky", "ground"]
    pixels = sum(int((np.asarray(Image.open(path)) != 255).sum()) for path in sorted((labelled_folder / "labels").iterdir())[1::2])
    assert np.sum(linear["confusion"]) == np.sum(kmeans["confusion"]) == pixels
    assert report.pictures == ["components.png", "attention.png"]


def test_unnamed_classes_are_counted(labelled_folder: Path, backbone_file: Path, tmp_path: Path) -> None:
    (labelled_folder / "meta.json").unlink()
    report = probe(make_settings(backbone=str(backbone_file), data=labelled_folder, out=tmp_path, pictures=0, limit=2, device="cpu", cache=tmp_path / "cache"))
    assert [entry["name"] for entry in report.scores["linear"]["per_class"]] == ["label 0", "label 1"]
    assert report.about["train_images"] == 2


def test_values_of_labels_that_do_not_occur_are_no_classes(labelled_folder: Path, backbone_file: Path, tmp_path: Path) -> None:
    (labelled_folder / "meta.json").unlink()
    for path in (labelled_folder / "labels").iterdir():
        label = np.asarray(Image.open(path))
        Image.fromarray(np.where(label == 1, 200, label).astype(np.uint8)).save(path)
    report = probe(make_settings(backbone=str(backbone_file), data=labelled_folder, out=tmp_path, pictures=0, device="cpu", cache=tmp_path / "cache"))
    assert [entry["name"] for entry in report.scores["linear"]["per_class"]] == ["label 0", "label 200"]
    assert report.scores["k-means, Hungarian"]["miou"] > 30


def test_a_label_of_another_size_than_its_image_is_left_out(labelled_folder: Path, backbone_file: Path, tmp_path: Path) -> None:
    odd = sorted((labelled_folder / "labels").iterdir())[1]
    Image.open(odd).resize((40, 64), Image.Resampling.NEAREST).save(odd)
    settings = make_settings(backbone=str(backbone_file), data=labelled_folder, out=tmp_path, pictures=0, device="cpu", cache=tmp_path / "cache")
    [(name, reason)] = probe(settings).failures
    assert Path(name).stem == odd.stem
    assert "label is 40 × 64; expected 80 × 64, the size of its image" in reason


@pytest.mark.parametrize("kind", ["images", "labels"])
def test_unreadable_files_of_label_maps_are_listed_and_left_out(kind: str, labelled_folder: Path, backbone_file: Path, tmp_path: Path) -> None:
    (labelled_folder / "meta.json").unlink()
    odd = sorted((labelled_folder / kind).iterdir())[1]  # every other image is scored on, and drawn
    odd.write_bytes(odd.read_bytes()[:80])
    settings = make_settings(backbone=str(backbone_file), data=labelled_folder, out=tmp_path / "out", pictures=3, device="cpu", cache=tmp_path / "cache")
    report = probe(settings)
    assert [Path(name).stem for name, _ in report.failures] == [odd.stem]
    assert (tmp_path / "out" / "probe.json").is_file()
    assert report.pictures[0] == "components.png"


def test_an_unreadable_image_is_listed_and_left_out(class_folders: Path, backbone_file: Path, tmp_path: Path) -> None:
    (class_folders / "red" / "0.png").write_bytes(b"no image")
    arguments = [
        "probe",
        str(backbone_file),
        str(class_folders),
        "--out",
        str(tmp_path / "out"),
        "--pictures",
        "2",
        "--device",
        "cpu",
        "--cache",
        str(tmp_path / "c"),
    ]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 1
    assert "| linear | cls + patches |" in result.output
    assert "0.png" in result.output
    assert json.loads((tmp_path / "out" / "probe.json").read_text())["train_images"] == 11


def test_bad_input_is_named(class_folders: Path, labelled_folder: Path, backbone_file: Path, tmp_path: Path) -> None:
    def refused(message: str, **fields: object) -> None:
        with pytest.raises(StegoError, match=message) as error:
            probe(make_settings(**{"backbone": str(backbone_file), "data": class_folders, "out": tmp_path / "o", "device": "cpu", **fields}))
        assert "\n" not in str(error.value)

    refused("no such folder", data=tmp_path / "nowhere")
    refused("expected label maps", kind="dense")
    refused("expected class folders", data=labelled_folder / "images", kind="classes")
    refused("expected class folders or label maps", data=labelled_folder / "images")
    refused("probe setting 'kind'", kind="all")
    refused("probe setting 'pictures'", pictures=-1)
    refused("no such backbone file", backbone="missing.pth")
    refused("block 7 does not exist", block=7)
    write_class(tmp_path / "split" / "train" / "a", (0, 0, 0), 2, 0)
    write_class(tmp_path / "split" / "test" / "b", (0, 0, 0), 2, 0)
    refused("test class 'b' has no training images", data=tmp_path / "split")
    assert not (tmp_path / "o").exists()


def test_mosaic_frames_and_keeps_patches_sharp(tmp_path: Path) -> None:
    checks = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [0, 0, 0]]], np.uint8)
    (tmp_path / "m.png").write_bytes(mosaic([[(checks, "a", PLAIN), (checks, "a very long caption that is cut in the middle", RIGHT)]]))
    with Image.open(tmp_path / "m.png") as picture:
        pixels = np.asarray(picture)
    assert pixels.shape == (178, 318, 3)
    assert (pixels[6:81, 6:81] == (255, 0, 0)).all()
    assert (pixels[6, 162:312] == RIGHT).all()
