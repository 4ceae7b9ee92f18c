"""Resizing, devices, precision and batches of mixed sizes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.backbone import Backbone, BackboneSpec, build_vit
from models.errors import StegoError
from stego_app.features.extract import MAX_ASPECT, device_of, extract_features, input_size, precision_of, resize_for_backbone


@given(st.integers(1, 3000), st.integers(1, 3000), st.integers(16, 600), st.sampled_from([8, 14, 16]))
def test_sides_are_patch_multiples_and_keep_the_aspect(height: int, width: int, resolution: int, patch: int) -> None:
    h, w = input_size(height, width, resolution, patch)
    assert h % patch == 0
    assert w % patch == 0
    assert abs(min(h, w) - resolution) <= patch / 2
    aspect = min(max(height, width) / min(height, width), MAX_ASPECT)
    assert abs(max(h, w) - aspect * min(h, w)) <= patch / 2
    if h != w:
        assert (h < w) == (height < width)


def test_exact_size_is_taken_as_it_is() -> None:
    assert input_size(360, 480, (336, 448), 14) == (336, 448)
    assert input_size(480, 360, (336, 448), 14) == (336, 448)


def test_resolution_below_one_patch_is_refused() -> None:
    with pytest.raises(StegoError, match=r"resolution 8: expected at least one patch of 14"):
        input_size(100, 100, 8, 14)


def test_resized_values_stay_in_range_and_in_place() -> None:
    image = np.zeros((50, 70, 3), np.uint8)
    image[:, 35:] = (255, 128, 0)
    resized = resize_for_backbone(image, 28, 14)
    assert resized.shape == (3, 28, 42)
    assert resized.dtype == torch.float32
    assert resized.min() >= 0
    assert resized.max() <= 1
    torch.testing.assert_close(resized[:, 14, 40], torch.tensor([1.0, 128 / 255, 0.0]))
    torch.testing.assert_close(resized[:, 14, 2], torch.zeros(3))


def test_shrinking_averages_instead_of_skipping() -> None:
    checks = np.indices((160, 160)).sum(0) % 2 * 255
    resized = resize_for_backbone(np.repeat(checks[..., None], 3, axis=2).astype(np.uint8), 16, 16)
    assert (resized - 0.5).abs().max() < 0.02  # without antialiasing pixels would be 0 or 1


def test_devices() -> None:
    assert device_of("cpu").type == "cpu"
    assert device_of("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(StegoError, match="expected auto, cpu, cuda or mps"):
        device_of("tpu")


def test_cuda_where_there_is_none_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(StegoError, match="no CUDA device is usable on this machine"):
        device_of("cuda")


def test_precision_follows_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": True}, raising=False)
    assert precision_of("auto", cpu) == "bf16"
    assert precision_of("fp32", cpu) == "fp32"
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True}, raising=False)
    assert precision_of("auto", cpu) == "fp32"
    with pytest.raises(StegoError, match="expected auto, fp32 or bf16"):
        precision_of("int4", cpu)


def test_mixed_sizes_come_back_in_order(tiny_backbone: Backbone) -> None:
    generator = torch.Generator().manual_seed(1)
    shapes = [(32, 48), (48, 32), (32, 48), (32, 32), (32, 48)]
    images = [torch.rand(3, *shape, generator=generator) for shape in shapes]
    together = extract_features(tiny_backbone, images, precision="fp32", batch_size=2)
    for image, features in zip(images, together, strict=True):
        with torch.inference_mode():
            alone = tiny_backbone(image[None]).patches[0]
        assert features.shape == (192, image.shape[1] // 16, image.shape[2] // 16)
        torch.testing.assert_close(features, alone, atol=1e-5, rtol=1e-5)


def test_flip_averaging_is_symmetric(tiny_backbone: Backbone) -> None:
    image = torch.rand(3, 32, 48, generator=torch.Generator().manual_seed(2))
    [one] = extract_features(tiny_backbone, [image], precision="fp32", flip=True)
    [other] = extract_features(tiny_backbone, [image.flip(-1)], precision="fp32", flip=True)
    torch.testing.assert_close(one, other.flip(-1), atol=1e-5, rtol=1e-5)
    [plain] = extract_features(tiny_backbone, [image], precision="fp32")
    assert not torch.allclose(one, plain, atol=1e-3)


def test_bf16_is_close_to_fp32(tiny_backbone: Backbone) -> None:
    image = torch.rand(3, 32, 48, generator=torch.Generator().manual_seed(3))
    [exact] = extract_features(tiny_backbone, [image], precision="fp32")
    [lowered] = extract_features(tiny_backbone, [image], precision="bf16")
    assert torch.nn.functional.cosine_similarity(exact, lowered, dim=0).min() > 0.999
    assert not torch.equal(exact, lowered)


def test_damaged_weights_are_named() -> None:
    spec = BackboneSpec("vit_tiny_patch16_224", 1, 0, 16, 192, 14)
    network = build_vit(spec)
    torch.nn.init.constant_(network.get_parameter("norm.weight"), float("nan"))
    with pytest.raises(StegoError, match="not finite"):
        extract_features(Backbone(network, spec).eval(), [torch.rand(3, 32, 32)], precision="fp32")
