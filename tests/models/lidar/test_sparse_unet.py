"""Voxels, sparse convolutions against dense ones, and the lidar backbone's file."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.artifact import ArtifactError
from models.errors import StegoError
from models.lidar.backbone import LidarSpec, load_lidar_backbone, random_lidar_backbone, read_lidar_backbone, save_lidar_backbone
from models.lidar.convolution import sparse_convolution
from models.lidar.unet import PointUNet, voxel_inputs
from models.lidar.voxels import Pairs, coarser, coordinates_of, key_of, neighbours, scan_of, voxelise

SIDE = 6


def occupied(seed: int, count: int = 70) -> tuple[torch.Tensor, torch.Tensor]:
    """Distinct coordinates (V, 3) in a grid of 6, in the order of their keys, and these keys."""
    torch.manual_seed(seed)
    cells = torch.randint(0, SIDE, (count, 3)).unique(dim=0) - SIDE // 2
    keys, order = key_of(cells, torch.zeros(len(cells), dtype=torch.long)).sort()
    return cells[order], keys


def dense(cells: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
    grid = torch.zeros(1, features.shape[1], SIDE, SIDE, SIDE, dtype=features.dtype)
    x, y, z = (cells + SIDE // 2).unbind(1)
    grid[0, :, x, y, z] = features.T
    return grid


def at(grid: torch.Tensor, cells: torch.Tensor, origin: int) -> torch.Tensor:
    x, y, z = (cells + origin).unbind(1)
    return grid[0, :, x, y, z].T


def test_keys_name_coordinates() -> None:
    cells = torch.tensor([[0, 0, 0], [-5, 7, -131_000], [130_000, -1, 3]])
    keys = key_of(cells, torch.tensor([0, 3, 255]))
    assert torch.equal(coordinates_of(keys), cells)
    assert scan_of(keys).tolist() == [0, 3, 255]
    with pytest.raises(ValueError, match="beyond"):
        key_of(torch.tensor([[140_000, 0, 0]]), torch.tensor([0]))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_submanifold_convolution_is_a_dense_one_where_voxels_are(seed: int) -> None:
    cells, keys = occupied(seed)
    features = torch.randn(len(cells), 3, dtype=torch.float64)
    weight = torch.randn(27, 3, 4, dtype=torch.float64)
    kernel = weight.reshape(3, 3, 3, 3, 4).permute(4, 3, 0, 1, 2)
    wanted = at(torch.nn.functional.conv3d(dense(cells, features), kernel, padding=1), cells, SIDE // 2)
    assert torch.allclose(sparse_convolution(features, weight, neighbours(keys), len(keys)), wanted, atol=1e-12)


@pytest.mark.parametrize("seed", [0, 1])
def test_strided_and_transposed_convolutions_are_dense_ones(seed: int) -> None:
    cells, keys = occupied(seed)
    grid = cells + 2  # the dense grid must begin at an even coordinate: -4 instead of -3
    weight = torch.randn(8, 3, 4, dtype=torch.float64)
    features = torch.randn(len(cells), 3, dtype=torch.float64)
    full = torch.zeros(1, 3, 8, 8, 8, dtype=torch.float64)
    x, y, z = (grid + 2).unbind(1)
    full[0, :, x, y, z] = features.T
    coarse, down = coarser(keys)
    assert torch.equal(coordinates_of(coarse.keys)[coarse.of_point], cells.div(2, rounding_mode="floor"))
    kernel = weight.reshape(2, 2, 2, 3, 4)
    strided = torch.nn.functional.conv3d(full, kernel.permute(4, 3, 0, 1, 2), stride=2)
    found = sparse_convolution(features, weight, down, len(coarse.keys))
    places = coordinates_of(coarse.keys)
    assert torch.allclose(found, at(strided, places, 2), atol=1e-12)
    up = torch.randn(8, 4, 3, dtype=torch.float64)
    back = torch.nn.functional.conv_transpose3d(strided, up.reshape(2, 2, 2, 4, 3).permute(3, 4, 0, 1, 2), stride=2)
    raised = sparse_convolution(found, up, [Pairs(pairs.target, pairs.source) for pairs in down], len(keys))
    assert torch.allclose(raised, at(back, cells, 4), atol=1e-12)


def test_gradients_of_the_convolution() -> None:
    _, keys = occupied(0, 6)
    features = torch.randn(len(keys), 2, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(27, 2, 3, dtype=torch.float64, requires_grad=True)
    pairs = neighbours(keys)
    assert torch.autograd.gradcheck(lambda x, w: sparse_convolution(x, w, pairs, len(keys)), (features, weight))


def test_under_autocast_the_convolution_takes_its_type() -> None:
    _, keys = occupied(0)
    features = torch.randn(len(keys), 2, requires_grad=True)
    weight = torch.randn(27, 2, 3, requires_grad=True)
    wanted = sparse_convolution(features, weight, neighbours(keys), len(keys))
    with torch.autocast("cpu", torch.bfloat16):
        found = sparse_convolution(features, weight, neighbours(keys), len(keys))
    assert found.dtype == torch.bfloat16
    assert torch.allclose(found.float(), wanted, atol=0.1)
    found.float().sum().backward()
    assert weight.grad is not None
    assert weight.grad.dtype == torch.float32


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10_000))
def test_the_order_of_points_changes_nothing(seed: int) -> None:
    torch.manual_seed(seed)
    points, intensity = torch.randn(200, 3), torch.rand(200)
    scan = torch.randint(0, 2, (200,))
    order = torch.randperm(200)
    one, other = voxelise(points, scan, 0.5), voxelise(points[order], scan[order], 0.5)
    assert torch.equal(one.keys, other.keys)
    assert torch.equal(one.of_point[order], other.of_point)
    inputs = voxel_inputs(points, intensity, points, one, 0.5)
    assert torch.allclose(inputs, voxel_inputs(points[order], intensity[order], points[order], other, 0.5), atol=1e-5)
    assert float(inputs[:, 2:5].abs().max()) <= 0.5 + 1e-5
    network = random_lidar_backbone(LidarSpec(0.5, (4, 6), 3), 0)
    with torch.inference_mode():
        assert torch.allclose(network(points, intensity, scan)[order], network(points[order], intensity[order], scan[order]), atol=1e-4)


def test_scans_of_a_batch_do_not_see_each_other() -> None:
    torch.manual_seed(0)
    points, intensity = torch.randn(300, 3), torch.rand(300)
    scan = torch.arange(300) % 2
    network = random_lidar_backbone(LidarSpec(0.4, (4, 6, 8), 5), 1)
    with torch.inference_mode():
        together = network(points, intensity, scan)
        alone = network(points[scan == 1], intensity[scan == 1], torch.zeros(150, dtype=torch.long))
    assert torch.allclose(together[scan == 1], alone, atol=1e-5)


def test_a_feature_is_the_same_for_all_points_of_a_voxel_and_differs_between_voxels() -> None:
    network = PointUNet(1.0, (4, 6), 5).eval()
    points = torch.tensor([[0.1, 0.1, 0.1], [0.9, 0.2, 0.3], [5.5, 0.5, 0.5]])
    found = network(points, torch.tensor([0.1, 0.9, 0.5]), torch.zeros(3, dtype=torch.long))
    assert torch.equal(found[0], found[1])
    assert not torch.allclose(found[0], found[2])


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_a_file_gives_the_network_back(precision: str, tmp_path: Path) -> None:
    backbone = random_lidar_backbone(LidarSpec(0.3, (4, 6), 5, source="test"), 3)
    path = tmp_path / "lidar.safetensors"
    save_lidar_backbone(path, backbone, precision=precision, card={"method": "also"})
    again = read_lidar_backbone(path)
    points, intensity, scan = torch.randn(100, 3), torch.rand(100), torch.zeros(100, dtype=torch.long)
    with torch.inference_mode():
        assert torch.allclose(again(points, intensity, scan), backbone(points, intensity, scan), atol={"fp32": 1e-6, "fp16": 5e-3, "int8": 0.3}[precision])
    assert again.spec == backbone.spec
    assert (again.fingerprint == backbone.fingerprint) == (precision == "fp32")
    other = load_lidar_backbone(f"random:{path}", 4)
    assert other.spec.widths == (4, 6)
    assert other.fingerprint != backbone.fingerprint
    assert load_lidar_backbone(f"random:{path}", 3).fingerprint == backbone.fingerprint


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(StegoError, match=r"nowhere\.safetensors: no such model file"):
        load_lidar_backbone(str(tmp_path / "nowhere.safetensors"))
    backbone = random_lidar_backbone(LidarSpec(0.3, (4, 6), 5), 3)
    path = tmp_path / "odd.safetensors"
    backbone.spec = LidarSpec(0.3, (4, 7), 5)
    save_lidar_backbone(path, backbone)
    with pytest.raises(ArtifactError, match=r"odd\.safetensors: weights do not fit the lidar backbone"):
        read_lidar_backbone(path)
