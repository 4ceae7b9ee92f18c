"""The cache: keyed by content, resumable, bounded, and honest about what it could not read."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

from models.backbone import Backbone, BackboneSpec, build_vit
from models.errors import StegoError
from stego_app.atomic import remove_stale_parts
from stego_app.features import cache as cache_module
from stego_app.features import shards
from stego_app.features.cache import FeatureCache
from stego_app.features.extract import extract_features, resize_for_backbone
from stego_app.features.location import default_cache_folder
from stego_app.features.reading import five_crops


def images_of(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.png"))


def build(paths: list[Path], backbone: Backbone, folder: Path, **options: Any) -> FeatureCache:
    return FeatureCache.build(paths, backbone, **{"resolution": 48, "device": "cpu", "precision": "fp32", "batch_size": 2, "folder": folder, **options})


def same_bits(one: FeatureCache, other: FeatureCache) -> bool:
    return one.keys == other.keys and all(np.array_equal(one.tokens(i), other.tokens(i)) for i in range(len(one))) and np.array_equal(one.pooled, other.pooled)


def test_holds_the_features_of_each_image(image_folder: Path, tiny_backbone: Backbone, tmp_path: Path) -> None:
    paths = images_of(image_folder)
    cache = build(paths, tiny_backbone, tmp_path / "cache")
    assert len(cache) == len(paths) == cache.computed
    assert cache.paths == paths
    for index, path in enumerate(paths):
        [features] = extract_features(tiny_backbone, [resize_for_backbone(np.asarray(Image.open(path)), 48, 16)], precision="fp32")
        assert cache.grid(index) == tuple(features.shape[1:])
        tokens = features.reshape(192, -1).T
        assert cache.tokens(index).dtype == np.float16
        np.testing.assert_allclose(cache.tokens(index), tokens, atol=4e-3)
        unit = tokens / tokens.norm(dim=1, keepdim=True)
        np.testing.assert_allclose(cache.pooled[index], unit.mean(0) / unit.mean(0).norm(), atol=1e-4)


def test_dark_images_are_brightened_where_asked_and_kept_apart(image_folder: Path, tiny_backbone: Backbone, tmp_path: Path) -> None:
    path = tmp_path / "dark.png"
    Image.fromarray((np.asarray(Image.open(images_of(image_folder)[0])) * 0.2).astype(np.uint8)).save(path)
    plain, bright = (build([path], tiny_backbone, tmp_path / "cache", brighten=brighten) for brighten in (False, True))
    assert bright.computed == 1  # not the plain one's entry
    for cache, brighten in ((plain, False), (bright, True)):
        [features] = extract_features(tiny_backbone, [resize_for_backbone(np.asarray(Image.open(path)), 48, 16, brighten=brighten)], precision="fp32")
        np.testing.assert_allclose(cache.tokens(0), features.reshape(192, -1).T, atol=4e-3)
    assert np.abs(plain.tokens(0).astype(np.float32) - bright.tokens(0)).max() > 0.05


def test_tokens_stay_on_disk_and_cannot_be_changed(image_folder: Path, tiny_backbone: Backbone, tmp_path: Path) -> None:
    tokens = build(images_of(image_folder), tiny_backbone, tmp_path).tokens(0)
    assert isinstance(tokens, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        tokens[0, 0] = 0


def test_a_store_may_have_more_shards_than_a_process_may_open_files(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    tokens = random.standard_normal((300, 4, 8)).astype(np.float16)
    for number, part in enumerate(tokens):
        shards.write_shard(tmp_path, f"{number:03}", [shards.Block(str(number), 2, 2, part, np.full(8, number, np.float32))])
    kept = shards.read_entries(tmp_path)
    order = random.permutation(300)
    cache = FeatureCache([kept[str(number)] for number in order], [tmp_path / str(number) for number in order], [], 8, 0)
    before = len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else 0
    assert sum(bool((cache.tokens(place) == tokens[number]).all()) for place, number in enumerate(order)) == 300
    assert cache.pooled[:, 0].tolist() == order.tolist()
    assert len(cache.sample(1_200, 0)[0]) == 1_200
    if sys.platform == "linux":
        assert len(os.listdir("/proc/self/fd")) - before <= 128  # macOS gives a process 256


def test_renamed_images_are_not_computed_again(image_folder: Path, tiny_backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = build(images_of(image_folder), tiny_backbone, tmp_path / "cache")
    for number, path in enumerate(reversed(images_of(image_folder))):
        path.rename(path.with_name(f"renamed{number}.png"))
    monkeypatch.setattr(cache_module, "extract_features", lambda *_a, **_k: pytest.fail("computed again"))
    second = build(images_of(image_folder), tiny_backbone, tmp_path / "cache")
    assert second.computed == 0
    assert set(second.keys) == set(first.keys)
    assert {path.name[:7] for path in second.paths} == {"renamed"}


def test_changed_content_or_settings_or_weights_are_computed(image_folder: Path, tiny_backbone: Backbone, tmp_path: Path) -> None:
    paths = images_of(image_folder)
    build(paths, tiny_backbone, tmp_path)
    Image.fromarray(np.full((64, 96, 3), 7, np.uint8)).save(paths[0])
    assert build(paths, tiny_backbone, tmp_path).computed == 1
    for options in ({"resolution": 32}, {"resolution": (32, 64)}, {"crops": "five"}, {"precision": "bf16"}, {"flip": True}):
        assert build(paths, tiny_backbone, tmp_path, **options).computed > 0, options
        assert build(paths, tiny_backbone, tmp_path, **options).computed == 0, options
    torch.manual_seed(1)
    other = Backbone(build_vit(tiny_backbone.spec), tiny_backbone.spec).eval()
    assert build(paths, other, tmp_path).computed == len(paths)


def test_equal_files_share_an_entry(image_folder: Path, tiny_backbone: Backbone, tmp_path: Path) -> None:
    paths = images_of(image_folder)
    copy = image_folder / "zcopy.png"
    copy.write_bytes(paths[0].read_bytes())
    cache = build([*paths, copy], tiny_backbone, tmp_path / "cache")
    assert len(cache) == len(paths) + 1
    assert cache.computed == len(paths)
    assert cache.keys[0] == cache.keys[-1]


def test_five_crops_are_entries_of_their_own(image_folder: Path, tiny_backbone: Backbone, tmp_path: Path) -> None:
    paths = images_of(image_folder)[:2]
    cache = build(paths, tiny_backbone, tmp_path / "cache", crops="five")
    assert [key.split("#")[1] for key in cache.keys[:5]] == [f"crop{n}" for n in range(5)]
    assert cache.paths == [path for path in paths for _ in range(5)]
    image = np.asarray(Image.open(paths[0]))
    crops = [image[:32, :48], image[:32, 48:], image[32:, :48], image[32:, 48:], image[16:48, 24:72]]
    for number, (mine, expected) in enumerate(zip(five_crops(image), crops, strict=True)):
        np.testing.assert_array_equal(mine, expected)
        [features] = extract_features(tiny_backbone, [resize_for_backbone(np.ascontiguousarray(expected), 48, 16)], precision="fp32")
        np.testing.assert_allclose(cache.tokens(number), features.reshape(192, -1).T, atol=4e-3)


def test_unreadable_images_are_listed_and_do_not_stop_the_rest(image_folder: Path, tiny_backbone: Backbone, tmp_path: Path) -> None:
    whole = images_of(image_folder)
    (image_folder / "empty.png").write_bytes(b"")
    (image_folder / "text.png").write_text("not an image")
    (image_folder / "truncated.png").write_bytes(whole[0].read_bytes()[:200])
    missing = image_folder / "gone.png"
    cache = build([*images_of(image_folder), missing], tiny_backbone, tmp_path / "cache")
    assert sorted(path.name for path, _ in cache.failures) == ["empty.png", "gone.png", "text.png", "truncated.png"]
    assert all(reason and "\n" not in reason for _, reason in cache.failures)
    assert cache.paths == whole


def test_nothing_readable_is_an_error(tiny_backbone: Backbone, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("no")
    (tmp_path / "b.png").write_text("no")
    with pytest.raises(StegoError, match=r"none of 2 images could be read; the first: .*a\.png"):
        build(images_of(tmp_path), tiny_backbone, tmp_path / "cache")
    with pytest.raises(StegoError, match="no images given"):
        build([], tiny_backbone, tmp_path / "cache")


def test_interrupted_build_goes_on_with_the_same_bits(image_folder: Path, tiny_backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = images_of(image_folder)
    monkeypatch.setattr(cache_module, "SHARD_BYTES", 1)  # a shard a batch
    whole = build(paths, tiny_backbone, tmp_path / "whole", resolution=(32, 48))
    calls = 0

    def failing(*args: Any, **options: Any) -> list[torch.Tensor]:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        return extract_features(*args, **options)

    monkeypatch.setattr(cache_module, "extract_features", failing)
    with pytest.raises(KeyboardInterrupt):
        build(paths, tiny_backbone, tmp_path / "cut", resolution=(32, 48))
    resumed = build(paths, tiny_backbone, tmp_path / "cut", resolution=(32, 48))
    assert resumed.computed == 2
    assert same_bits(resumed, whole)


def test_ctrl_c_keeps_the_batches_already_computed(image_folder: Path, tiny_backbone: Backbone, tmp_path: Path) -> None:
    def stop(_stage: str, done: int, _total: int) -> None:
        if done == 5:
            raise KeyboardInterrupt

    paths = images_of(image_folder)
    with pytest.raises(KeyboardInterrupt):
        build(paths, tiny_backbone, tmp_path, resolution=(32, 48), progress=stop)
    assert build(paths, tiny_backbone, tmp_path, resolution=(32, 48)).computed == 2


KILLED = """
    import sys, time
    from pathlib import Path
    import torch
    from models.backbone import Backbone, BackboneSpec, build_vit
    from stego_app.features import cache
    from stego_app.features.extract import extract_features
    torch.manual_seed(0)
    spec = BackboneSpec("vit_tiny_patch16_224", 1, 0, 16, 192, 14, method="random")
    backbone = Backbone(build_vit(spec), spec).eval()
    cache.SHARD_BYTES = 1
    calls = 0
    def slow(*args, **options):
        global calls
        calls += 1
        if calls == 3:
            print("third batch", flush=True)
            time.sleep(120)
        return extract_features(*args, **options)
    cache.extract_features = slow
    paths = sorted(Path(sys.argv[1]).rglob("*.png"))
    cache.FeatureCache.build(paths, backbone, resolution=48, device="cpu", precision="fp32", batch_size=1, folder=Path(sys.argv[2]))
"""


def test_a_killed_build_loses_only_what_it_was_doing(image_folder: Path, tiny_backbone: Backbone, tmp_path: Path) -> None:
    root = Path(__file__).parents[3]
    command = [sys.executable, "-c", textwrap.dedent(KILLED), str(image_folder), str(tmp_path / "cache")]
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root, env=environment) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "third batch\n"
        process.send_signal(signal.SIGKILL)
    paths = images_of(image_folder)
    resumed = build(paths, tiny_backbone, tmp_path / "cache", batch_size=1)
    assert resumed.computed == len(paths) - 2
    fresh = build(paths, tiny_backbone, tmp_path / "fresh", batch_size=1)
    assert same_bits(resumed, fresh)


def test_damaged_shards_are_computed_again(image_folder: Path, tiny_backbone: Backbone, tmp_path: Path) -> None:
    paths = images_of(image_folder)
    whole = build(paths, tiny_backbone, tmp_path / "whole")
    build(paths, tiny_backbone, tmp_path / "damaged")
    [shard] = (tmp_path / "damaged").rglob("*.safetensors")
    data = shard.read_bytes()
    for damaged in (data[:-10], data[:30], b"", b"\xff" * 64):
        shard.unlink()  # the file of the last round is still mapped
        shard.write_bytes(damaged)
        again = build(paths, tiny_backbone, tmp_path / "damaged")
        assert again.computed == len(paths)
        assert same_bits(again, whole)


def test_full_disk_is_one_line_and_leaves_no_damage(image_folder: Path, tiny_backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_tensors: Any, path: str, **_options: Any) -> None:
        Path(path).write_bytes(b"half a sha")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("models.tensor_file.save_file", full)
    with pytest.raises(StegoError, match=r"cannot write \d+ MB of the feature cache .*No space left on device.*STEGO_CACHE") as caught:
        build(images_of(image_folder), tiny_backbone, tmp_path)
    monkeypatch.undo()
    assert "\n" not in str(caught.value)
    assert [path for path in (tmp_path / "features").rglob("*") if path.is_file()] == []
    assert build(images_of(image_folder), tiny_backbone, tmp_path).computed == 6


def test_stale_parts_are_removed_and_fresh_ones_left(tmp_path: Path) -> None:
    old, new = tmp_path / ".a.1.part", tmp_path / ".b.2.part"
    for path in (old, new):
        path.write_bytes(b"x")
    os.utime(old, (0, time.time() - 2 * 24 * 3600))
    remove_stale_parts(tmp_path)
    assert not old.exists()
    assert new.exists()


def test_shards_are_bounded(image_folder: Path, tiny_backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "SHARD_BYTES", 2 * 9 * 192 * 2)
    cache = build(images_of(image_folder), tiny_backbone, tmp_path, resolution=(48, 48))
    assert len(list(tmp_path.rglob("*.safetensors"))) == 3
    assert cache.pooled.shape == (6, 192)


def test_sample_draws_each_token_once(image_folder: Path, tiny_backbone: Backbone, tmp_path: Path) -> None:
    cache = build(images_of(image_folder), tiny_backbone, tmp_path)
    total = sum(len(cache.tokens(i)) for i in range(len(cache)))
    everything, owners = cache.sample(10**6, seed=0)
    assert everything.shape == (total, 192)
    np.testing.assert_array_equal(np.bincount(owners), [len(cache.tokens(i)) for i in range(len(cache))])
    for index in range(len(cache)):
        mine = everything[owners == index]
        stored = cache.tokens(index).astype(np.float32)
        np.testing.assert_array_equal(mine[np.lexsort(mine.T)], stored[np.lexsort(stored.T)])
    few, origin = cache.sample(20, seed=1)
    for token, index in zip(few, origin, strict=True):
        assert (cache.tokens(int(index)).astype(np.float32) == token).all(axis=1).any()
    np.testing.assert_array_equal(few, cache.sample(20, seed=1)[0])
    assert not np.array_equal(few, cache.sample(20, seed=2)[0])


def test_subset_and_progress(image_folder: Path, tiny_backbone: Backbone, tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    cache = build(images_of(image_folder), tiny_backbone, tmp_path, progress=lambda *args: seen.append(args))
    assert seen == [("features", n, 6) for n in range(1, 7)]
    part = cache.subset([3, 1])
    assert part.keys == [cache.keys[3], cache.keys[1]]
    np.testing.assert_array_equal(part.tokens(0), cache.tokens(3))
    np.testing.assert_array_equal(part.pooled, cache.pooled[[3, 1]])


def test_a_reader_of_the_data_set_s_own_is_used(image_folder: Path, tiny_backbone: Backbone, tmp_path: Path) -> None:
    def mirrored(path: Path) -> npt.NDArray[np.uint8]:
        if path.name == "photo3.png":
            raise StegoError(f"{path}: not a tile")
        return np.ascontiguousarray(np.asarray(Image.open(path))[:, ::-1])

    paths = images_of(image_folder)
    cache = build(paths, tiny_backbone, tmp_path, read=mirrored)
    assert [(path.name, reason) for path, reason in cache.failures] == [("photo3.png", "not a tile")]
    [features] = extract_features(tiny_backbone, [resize_for_backbone(mirrored(paths[0]), 48, 16)], precision="fp32")
    np.testing.assert_allclose(cache.tokens(0), features.reshape(192, -1).T, atol=4e-3)


def test_vanished_store_is_named(image_folder: Path, tiny_backbone: Backbone, tmp_path: Path) -> None:
    cache = build(images_of(image_folder), tiny_backbone, tmp_path)
    for shard in tmp_path.rglob("*.safetensors"):
        shard.unlink()
    with pytest.raises(StegoError, match="removed or damaged while in use"):
        cache.tokens(0)


def test_default_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("STEGO_CACHE", str(tmp_path / "here"))
    assert default_cache_folder() == tmp_path / "here"
    monkeypatch.delenv("STEGO_CACHE")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache_folder() == tmp_path / "stego"


def test_tiny_spec_matches_the_killed_build(tiny_backbone: Backbone) -> None:
    # The killed build makes the fixture's backbone again; another fingerprint would make its test pass for nothing.
    torch.manual_seed(0)
    spec = BackboneSpec("vit_tiny_patch16_224", 1, 0, 16, 192, 14, method="random")
    assert Backbone(build_vit(spec), spec).fingerprint == tiny_backbone.fingerprint
