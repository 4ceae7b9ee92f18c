"""``GET /v1/models``: what the service can segment with."""

from __future__ import annotations

from fastapi import APIRouter

from api.catalog import Catalog, UnknownModelError
from api.errors import ApiError
from api.openapi import errors
from api.schemas import ModelClass, ModelDetail, ModelEntry, ModelList


def models_router(catalog: Catalog) -> APIRouter:
    """The routes, bound to the catalog."""
    router = APIRouter(prefix="/v1/models", tags=["models"])

    @router.get("", summary="List the models", responses=errors(500))
    async def list_models() -> ModelList:
        """All models, the default one first."""
        return ModelList(models=[_entry(catalog, name) for name in catalog.names()])

    @router.get("/{name}", summary="Describe a model", responses=errors(404, 500))
    async def describe_model(name: str) -> ModelDetail:
        """A model's classes (at its own granularity) and what is known of its making."""
        try:
            segmenter = catalog.get(name)
        except UnknownModelError as error:
            raise ApiError(404, "unknown_model", str(error), field="name") from error
        classes = [
            ModelClass(id=entry.label, name=entry.name, color="#{:02x}{:02x}{:02x}".format(*entry.color), share=entry.share)
            for entry in segmenter.table().classes
        ]
        return ModelDetail(**_entry(catalog, name).model_dump(), class_table=classes, info=segmenter.info())

    return router


def _entry(catalog: Catalog, name: str) -> ModelEntry:
    segmenter = catalog.get(name)
    return ModelEntry(
        name=name,
        default=name == catalog.default,
        classes=segmenter.default_classes,
        max_classes=segmenter.max_classes,
        confidence=segmenter.has_confidence,
    )
