"""Students start as copies of the teacher's blocks."""

from __future__ import annotations

import pytest
import torch

from models.backbone import Backbone
from models.backbone_sources import load_backbone
from models.errors import StegoError
from pretrain.student import random_student, source_blocks, student_of_blocks


@pytest.fixture(scope="module")
def teacher() -> Backbone:
    torch.manual_seed(0)
    return load_backbone("random:vit_tiny_patch16_224", block=5)


def test_which_blocks() -> None:
    assert source_blocks("first", 3, 9) == [0, 1, 2]
    assert source_blocks("last", 3, 9) == [0, 1, 9]
    assert source_blocks("even", 4, 9) == [0, 3, 6, 9]
    for start in ("first", "last", "even"):
        assert source_blocks(start, 10, 9) == list(range(10))  # type: ignore[arg-type]
        assert len(source_blocks(start, 1, 9)) == 1  # type: ignore[arg-type]
    with pytest.raises(StegoError, match="depth 11: the teacher has 10 blocks up to block 9"):
        source_blocks("first", 11, 9)


def test_a_truncated_student_is_the_teacher_cut(teacher: Backbone) -> None:
    student = student_of_blocks(teacher, 3, "first", "test").eval()
    pictures = torch.rand(1, 3, 48, 64, generator=torch.Generator().manual_seed(0))
    cut = Backbone(teacher.network, type(teacher.spec)(**{**vars(teacher.spec), "block": 2})).eval()
    with torch.inference_mode():
        assert torch.allclose(student(pictures).patches, cut(pictures).patches, atol=1e-6)
    assert (student.spec.depth, student.spec.block, student.spec.method) == (3, 2, "distill")


def test_a_student_of_full_depth_is_the_teacher(teacher: Backbone) -> None:
    student = student_of_blocks(teacher, 6, "even", "test").eval()
    pictures = torch.rand(1, 3, 48, 48, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.equal(student(pictures).patches, teacher(pictures).patches)


def test_students_own_their_weights(teacher: Backbone) -> None:
    student = student_of_blocks(teacher, 2, "first", "test")
    before = teacher.fingerprint
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.zero_()
    teacher._fingerprint = None
    assert teacher.fingerprint == before


def test_random_students_repeat_with_their_seed() -> None:
    one, same, other = (random_student("vit_tiny_patch16_224", 2, "test", seed) for seed in (1, 1, 2))
    assert one.fingerprint == same.fingerprint != other.fingerprint
