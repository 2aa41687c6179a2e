"""What a model of arguments takes, beyond its types: no unknown name, no `true` for a number."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError


class Strict(BaseModel):
    """Arguments as they are named; null for one that may be absent is as if it were absent."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, given: Any) -> Any:
        """Several frameworks fill every argument that was not given with null."""
        if not isinstance(given, Mapping):
            return given
        optional = _optional_names(cls)
        return {
            name: value
            for name, value in given.items()
            if value is not None or name not in optional
        }

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, given: Any, info: ValidationInfo) -> Any:
        """Python counts true as 1; nobody who sends it asks for one row."""
        values = given if isinstance(given, list) else [given]
        takes_truth = info.field_name is None or _takes(cls, info.field_name, bool)
        if not takes_truth and any(isinstance(value, bool) for value in values):
            raise PydanticCustomError("truth_value", "true and false are no value of it")
        return given


@cache
def _optional_names(model: type[BaseModel]) -> frozenset[str]:
    fields = model.model_fields.items()
    return frozenset(
        known
        for name, field in fields
        if not field.is_required()
        for known in (name, field.alias or name)
    )


@cache
def _takes(model: type[BaseModel], name: str, kind: type) -> bool:
    """Whether the type occurs in the annotation of a field, inside lists too."""
    return _mentions(model.model_fields[name].annotation, kind)


def _mentions(annotation: Any, kind: type) -> bool:
    return annotation is kind or any(_mentions(part, kind) for part in get_args(annotation))
