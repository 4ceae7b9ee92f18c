"""Applies the edits of a request to a segmenter, with the same meaning as ``stego classes``."""

from __future__ import annotations

from typing import Protocol, Self, runtime_checkable

from api.schemas_jobs import ColourOp, EditRequest, MergeOp, RenameOp, SplitOp
from models.errors import StegoError
from ui.contract import SegmenterLike


@runtime_checkable
class Recolours(Protocol):
    """A segmenter whose classes can be given colours."""

    def recolour(self, leaves: tuple[int, ...], color: str) -> Self: ...


def edited(segmenter: SegmenterLike, request: EditRequest) -> SegmenterLike:
    """``segmenter`` with the changes of ``request``, made in their order; ids are those of the classes before the first.

    Raises:
        StegoError: nothing to do, an id or a number of edits that does not exist, a name that cannot be one.
    """
    if not request.edits and not request.undo and request.save_as is None:
        raise StegoError("edits: expected at least one, or 'undo', or 'save_as'")
    if request.undo:
        segmenter = segmenter.undo(request.undo)
    before = segmenter.table(request.classes)
    for edit in request.edits:
        if isinstance(edit, MergeOp):
            segmenter = segmenter.merge([before.leaves_of(label) for label in edit.ids])
            continue
        leaves = before.leaves_of(edit.id)
        if isinstance(edit, RenameOp):
            segmenter = segmenter.rename(leaves, edit.name)
        elif isinstance(edit, ColourOp):
            assert isinstance(segmenter, Recolours)
            segmenter = segmenter.recolour(leaves, edit.color)
        elif isinstance(edit, SplitOp):
            segmenter = segmenter.split(leaves)
        else:
            segmenter = segmenter.ignore(leaves)
    return segmenter
