"""``/v1/models``: what the service can segment with; renaming, removing, and editing classes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Response

from api.catalog import Catalog
from api.editing import edited
from api.jobs.answers import answering
from api.model_facts import Facts
from api.naming import found_names, named
from api.openapi import errors
from api.routes.query import known_query
from api.schemas import ModelClass, ModelDetail, ModelEntry, ModelList
from api.schemas_jobs import EditRequest, FoundNames, NameRequest, NewName
from stego_app.segmentation import hex_color
from ui.contract import SegmenterLike

_TAG = {"headers": {"ETag": {"description": "Changes with the model; send it as `If-Match` when editing.", "schema": {"type": "string"}}}}
_STRICT = [Depends(known_query)]
_IfMatch = Annotated[str | None, Header(max_length=100, description="The model's `ETag`; refused with 412 if the model has changed since.")]


def models_router(catalog: Catalog) -> APIRouter:
    """The routes, bound to the catalog."""
    router = APIRouter(prefix="/v1/models", tags=["models"])

    # Functions, not coroutines: a file that has changed is read here, in a thread.
    @router.get("", summary="List the models", responses=errors(500))
    def list_models() -> ModelList:
        """All models, the default one first."""
        with answering():
            return ModelList(models=[_entry(catalog, name, facts) for name, facts in catalog.all_facts().items()])

    @router.get("/{name}", summary="Describe a model", responses={200: _TAG, **errors(404, 500)})
    def describe_model(name: str, response: Response) -> ModelDetail:
        """A model's classes (at its own granularity) and what is known of its making."""
        with answering():
            return _detail(catalog, name, response)

    @router.patch("/{name}", summary="Rename a model", responses={200: _TAG, **errors(400, 404, 409, 412, 422, 500, 507)}, dependencies=_STRICT)
    def rename_model(name: str, new: NewName, response: Response, if_match: _IfMatch = None) -> ModelDetail:
        """Give a model of the models folder another name. Jobs that use it go on with it."""
        with answering():
            catalog.rename(name, new.name, expected=_expected(if_match))
            response.headers["Location"] = f"/v1/models/{new.name}"
            return _detail(catalog, new.name, response)

    @router.delete("/{name}", status_code=204, summary="Remove a model", responses=errors(404, 409, 412, 422, 500, 507), dependencies=_STRICT)
    def remove_model(name: str, if_match: _IfMatch = None) -> None:
        """Remove a model from the models folder. Jobs that use it go on with it."""
        with answering():
            catalog.remove(name, expected=_expected(if_match))

    created = {"model": ModelDetail, "description": "Saved as a new model.", **_TAG}

    @router.post(
        "/{name}/edits",
        summary="Edit a model's classes",
        responses={200: _TAG, 201: created, **errors(400, 404, 409, 412, 422, 500, 507)},
        dependencies=_STRICT,
    )
    def edit_model(
        name: str,
        request: EditRequest,
        response: Response,
        if_match: _IfMatch = None,
    ) -> ModelDetail:
        """Rename, colour, merge, split or ignore classes, or undo that. The change is kept in the model's file, which command line, REST and page share."""
        with answering():
            place = _change(catalog, name, lambda segmenter: edited(segmenter, request), request.save_as, if_match, response)
            return _detail(catalog, place, response)

    named_new = {"model": FoundNames, "description": "Saved as a new model.", **_TAG}

    @router.post(
        "/{name}/names",
        summary="Name a model's classes from words",
        responses={200: _TAG, 201: named_new, **errors(400, 404, 409, 412, 422, 500, 507)},
        dependencies=_STRICT,
    )
    def name_model(
        name: str,
        request: NameRequest,
        response: Response,
        if_match: _IfMatch = None,
    ) -> FoundNames:
        """Choose a word for each class, or none, and rename the classes so: edits like others, which can be undone. The server needs the extra `text`."""
        with answering():
            seen = catalog.get(name)
            found = found_names(seen, request)

            def renamed(segmenter: SegmenterLike) -> SegmenterLike:
                nonlocal found
                if segmenter is not seen:  # edited in the meantime: its ids may be those of other classes
                    found = found_names(segmenter, request)
                return named(segmenter, found, request)

            change = any(entry.name is not None for entry in found) and not request.dry_run
            place = _change(catalog, name, renamed, request.save_as, if_match, response) if change else name
            _tell_tag(catalog, place, response)
            return FoundNames(model=place, changed=change, names=found)

    return router


def _change(catalog: Catalog, name: str, edit: Callable[[SegmenterLike], SegmenterLike], save_as: str | None, if_match: str | None, response: Response) -> str:
    """Edit the model, or save it edited as another; the name it then has."""
    place = catalog.edit(name, edit, save_as=save_as, expected=_expected(if_match))
    if save_as is not None:
        response.status_code = 201
        response.headers["Location"] = f"/v1/models/{place}"
    return place


def _expected(if_match: str | None) -> str | None:
    """The tag that a model must still have; None for any."""
    return None if if_match in (None, "*") else str(if_match).strip('"')


def _tell_tag(catalog: Catalog, name: str, response: Response) -> None:
    if (tag := catalog.tag(name)) is not None:
        response.headers["ETag"] = f'"{tag}"'


def _detail(catalog: Catalog, name: str, response: Response) -> ModelDetail:
    entry = _entry(catalog, name, catalog.facts(name))
    _tell_tag(catalog, name, response)
    segmenter = catalog.get(name)
    classes = [ModelClass(id=found.label, name=found.name, color=hex_color(found.color), share=found.share) for found in segmenter.table().classes]
    return ModelDetail(**entry.model_dump(), class_table=classes, info=segmenter.info())


def _entry(catalog: Catalog, name: str, facts: Facts) -> ModelEntry:
    return ModelEntry(
        name=name,
        default=name == catalog.default,
        classes=facts.classes,
        max_classes=facts.max_classes,
        confidence=facts.confidence,
        editable=facts.editable,
        removable=facts.removable,
    )
