"""Sources of images, batches by step, views, health numbers and schedules."""

from __future__ import annotations

import io
import math
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.neighbors import KNeighborsClassifier

from models.errors import StegoError
from pretrain.augment import Crop, byol_crops, centre_view, make_view, simclr_crop
from pretrain.batches import PretrainViews, Share, ViewPlan, deal
from pretrain.health import Health, collapsed, entropy_share, feature_std, knn_accuracy, leave_one_out_knn, rankme
from pretrain.methods.common import multi_crop, patchify, random_keep
from pretrain.schedules import Clock, cosine, learning_rate, linear_warmup, scaled_rate, teacher_momentum
from pretrain.source import SourceBank, data_fingerprint, folder_labels, open_source
from tests.conftest import textured_image
from tests.pretrain.method_parts import tiny_config


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    """A tar of six images in two folders, and the same images unpacked."""
    root = tmp_path / "pool"
    with tarfile.open(tmp_path / "train.tar", "w") as archive:
        for index in range(6):
            buffer = io.BytesIO()
            Image.fromarray(textured_image(40, 48, index)).save(buffer, format="PNG")
            name = f"train/{'cat' if index % 2 else 'dog'}/{index}.png"
            info = tarfile.TarInfo(name)
            info.size = len(buffer.getvalue())
            archive.addfile(info, io.BytesIO(buffer.getvalue()))
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(buffer.getvalue())
        archive.addfile(tarfile.TarInfo("train/readme.txt"))
    return root


def test_a_tar_file_and_a_list_read_as_the_folder_they_name(pool: Path, tmp_path: Path) -> None:
    folder, archive = open_source([pool]), open_source([pool.parent / "train.tar"])
    assert [Path(name).name for name in archive.names] == [Path(name).name for name in folder.names]
    assert archive.sizes == folder.sizes
    for index in range(6):
        np.testing.assert_array_equal(archive.read(index), folder.read(index))
        assert archive.shape(index) == folder.shape(index) == (48, 40)
    labels, kinds = folder_labels(archive)
    assert kinds == ["cat", "dog"]
    assert labels.tolist() == [0, 0, 0, 1, 1, 1]
    listed = tmp_path / "list.txt"
    listed.write_text("".join(f"{path}\n" for path in reversed(folder.names)))
    chosen = open_source([Path(f"@{listed}")])
    assert chosen.names == folder.names[::-1]
    assert np.array_equal(chosen.read(0), folder.read(len(folder) - 1))
    assert len(open_source([pool, pool.parent])) == 12  # the second holds a train.tar
    assert data_fingerprint(folder.names, folder.sizes) != data_fingerprint(archive.names, archive.sizes)


def test_bad_tar_files_and_lists_by_name(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text(f"{tmp_path / 'gone.png'}\n")
    with pytest.raises(StegoError, match=r"gone.png: there is no such file; expected an image"):
        open_source([Path(f"@{tmp_path / 'list.txt'}")])
    (tmp_path / "not.tar").write_bytes(b"no archive")
    with pytest.raises(StegoError, match=r"not.tar: not an uncompressed tar file"):
        open_source([tmp_path / "not.tar"])
    with tarfile.open(tmp_path / "empty.tar", "w") as archive:
        archive.addfile(tarfile.TarInfo("notes.txt"))
    with pytest.raises(StegoError, match=r"empty.tar: no images in this tar file"):
        open_source([tmp_path / "empty.tar"])


@settings(deadline=None, max_examples=25)
@given(count=st.integers(1, 20), batch=st.integers(1, 8), seed=st.integers(0, 5))
def test_every_image_is_dealt_once_an_epoch(count: int, batch: int, seed: int) -> None:
    dealt = np.concatenate([deal(seed, step, batch, count) for step in range(2 * count)])
    for epoch in range(2 * batch):
        assert sorted(dealt[epoch * count : (epoch + 1) * count]) == list(range(count))


def test_ranks_and_micro_batches_share_one_step(pool: Path) -> None:
    source = open_source([pool])
    plan = ViewPlan((Crop(16), simclr_crop(16)), (Crop(8, (0.05, 0.3)),) * 3)

    def views(share: Share, start: int = 0) -> PretrainViews:
        bank = SourceBank(source, 64, 1e9)
        return PretrainViews([bank], folder_labels(source)[0], lambda _: (plan, 4), lambda _: None, seed=3, start=start, steps=5, share=share)

    whole = views(Share())[2]
    assert (tuple(whole.views.shape), tuple(whole.local.shape)) == ((2, 4, 3, 16, 16), (3, 4, 3, 8, 8))
    parts = [views(Share(rank, 2, 2))[2 * 2 + micro] for rank in (0, 1) for micro in (0, 1)]
    torch.testing.assert_close(torch.cat([part.views for part in parts], dim=1), whole.views)
    assert torch.cat([part.indices for part in parts]).tolist() == whole.indices.tolist()
    later = views(Share(), start=2)
    assert len(later) == 3
    torch.testing.assert_close(later[0].local, whole.local)


def test_an_unreadable_image_is_replaced_by_another(pool: Path) -> None:
    (pool / "train" / "cat" / "1.png").write_bytes(b"broken")
    source = open_source([pool])
    bank = SourceBank(source, 64, 1e9)
    views = PretrainViews([bank], folder_labels(source)[0], lambda _: (ViewPlan((Crop(8),)), 6), lambda _: None, seed=0, start=0, steps=1, share=Share())
    batch = views[0]
    assert 0 not in batch.indices.tolist()
    assert [path.name for path in bank.skipped] == ["1.png"]


def test_a_views_box_says_where_it_was_cut() -> None:
    """An image of its own coordinates: the view's mean colour is its box's middle."""
    rows, columns = np.mgrid[0:100, 0:200]
    image = np.stack([columns * 255 / 200, rows * 255 / 100, np.zeros((100, 200))], axis=-1).astype(np.uint8)
    for seed in range(10):
        view, (left, top, right, bottom), flipped = make_view(image, Crop(16, (0.1, 0.5)), np.random.default_rng(seed))
        colour = view.float().mean((1, 2)) / 255
        assert colour[0] == pytest.approx((left + right) / 2, abs=0.02)
        assert colour[1] == pytest.approx((top + bottom) / 2, abs=0.02)
        assert flipped == bool(view[0, 0, 0] > view[0, 0, -1])
        assert 0.1 * 0.95 < (right - left) * (bottom - top) < 0.5 * 1.05


def test_views_depend_on_their_generator_alone() -> None:
    image = textured_image(80, 90, 0)
    for crop in (simclr_crop(64), *byol_crops(64)):
        views = [make_view(image, crop, np.random.default_rng(4))[0] for _ in range(2)]
        torch.testing.assert_close(views[0], views[1])
        assert views[0].dtype == torch.uint8
    grey = make_view(image, Crop(16, grey=1.0), np.random.default_rng(0))[0]
    assert bool((grey[0] == grey[1]).all() and (grey[1] == grey[2]).all())
    assert centre_view(image, 8).shape == (3, 8, 8)


def test_multi_crop_scales_its_local_crops_like_96_to_224() -> None:
    from pretrain.methods.dino import DinoOptions

    plan = multi_crop(tiny_config("dino", image_size=224, patch_size=16), DinoOptions())
    assert [crop.size for crop in (*plan.crops, *plan.local)] == [224, 224, *[96] * 6]
    assert (plan.crops[0].blur, plan.crops[1].solarize) == (1.0, 0.2)


def test_patches_and_kept_patches() -> None:
    images = torch.arange(2 * 3 * 4 * 6, dtype=torch.float32).view(2, 3, 4, 6)
    patches = patchify(images, 2)
    assert patches.shape == (2, 6, 12)
    for image, row, column in ((0, 0, 0), (1, 1, 2)):
        block = images[image, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
        torch.testing.assert_close(patches[image, 3 * row + column].view(2, 2, 3), block.permute(1, 2, 0))
    kept, masked = random_keep(5, 16, 0.75, torch.device("cpu"))
    assert (kept.shape, masked.shape) == ((5, 4), (5, 12))
    assert all(sorted([*kept[i].tolist(), *masked[i].tolist()]) == list(range(16)) for i in range(5))


def test_rank_and_spread_of_known_features() -> None:
    torch.manual_seed(0)
    basis = torch.linalg.qr(torch.randn(64, 64)).Q
    centred = basis[:, :5] - basis[:, :5].mean(0)
    values = np.linalg.svd(centred.double().numpy(), compute_uv=False)
    shares = values / values.sum()
    assert rankme(centred + 3) == pytest.approx(math.exp(-(shares * np.log(shares)).sum()), rel=1e-5)
    assert rankme(torch.randn(50, 1) @ torch.randn(1, 8)) == pytest.approx(1, abs=1e-3)
    assert rankme(torch.ones(4, 3)) == 1
    assert feature_std(torch.ones(4, 3)) == pytest.approx(0, abs=1e-6)
    assert feature_std(torch.tensor([[1.0, 0], [-2.0, 0]])) == pytest.approx(1)
    sphere = torch.nn.functional.normalize(torch.randn(300, 8), dim=1)
    assert feature_std(sphere) == pytest.approx(math.sqrt(float(sphere.double().var(0, unbiased=False).sum())), rel=1e-5)
    assert entropy_share(torch.full((3, 4), 0.25)) == pytest.approx(1)
    assert entropy_share(torch.eye(4)) == pytest.approx(0, abs=1e-6)


def test_knn_agrees_with_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    labels, test_labels = rng.integers(0, 3, 90), rng.integers(0, 3, 40)
    centres = rng.normal(size=(3, 6))
    train, test = (centres[one] + 1.2 * rng.normal(size=(len(one), 6)) for one in (labels, test_labels))
    oracle = KNeighborsClassifier(7, metric="cosine", weights=lambda distance: np.exp((1 - distance) / 0.07)).fit(train, labels)
    tensors = [torch.from_numpy(one) for one in (train, labels, test, test_labels)]
    assert knn_accuracy(*tensors, k=7) == pytest.approx(oracle.score(test, test_labels))
    twins = torch.from_numpy(np.concatenate([train, train]))
    assert leave_one_out_knn(twins, torch.from_numpy(np.concatenate([labels, labels])), k=1) == 1


def test_collapse_takes_two_checks_of_any_kind() -> None:
    good = Health(1, 0.5, 0.8, 40, 100, teacher_entropy=0.9, teacher_marginal=0.9)
    flat, line = Health(2, 0.5, 0.001, 40, 100), Health(3, 0.5, 0.5, 1.2, 100)
    uniform, single = Health(4, 0.5, 0.5, 9, 100, teacher_entropy=0.99999), Health(5, 0.5, 0.5, 9, 100, teacher_entropy=0.1, teacher_marginal=0.001)
    assert good.problem() is None
    for bad, word in ((flat, "same features"), (line, "one direction"), (uniform, "uniform"), (single, "one prototype")):
        assert word in str(bad.problem())
        assert collapsed([good, bad]) is None
        assert word in str(collapsed([flat, bad]))
    assert "teacher entropy 0.900" in good.line()


def test_schedules() -> None:
    rates = [learning_rate(Clock(step, 100), 2.0, 0.1) for step in range(100)]
    assert rates[0] == pytest.approx(0.2)
    assert rates[9] == rates[10] == 2.0
    assert rates[55] == pytest.approx(1.0)
    assert 0 < rates[99] < 0.01
    assert scaled_rate(5e-4, 1024) == pytest.approx(2e-3)
    assert cosine(1.0, 3.0, 0.5) == pytest.approx(2.0)
    assert [linear_warmup(0.04, 0.07, progress, 0.3) for progress in (0, 0.15, 0.3, 1)] == pytest.approx([0.04, 0.055, 0.07, 0.07])
    assert teacher_momentum(0.9, 100, 0.5) == pytest.approx(0.95)
    assert teacher_momentum(None, 200, 0) == pytest.approx(0.95)
    assert teacher_momentum(None, 10**6, 0) == pytest.approx(0.996)
    assert teacher_momentum(None, 200, 1) == pytest.approx(1)
