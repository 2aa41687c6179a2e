"""How much of an answer is told: all of it, or what a reader does not expect anyway.

A concise answer keeps its rows and its date, and whatever is not as usual: nothing that makes the
numbers less than they seem is ever left out.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, TypeVar

from pydantic import BaseModel

from researchflow_server.contract.base import Detail, Detailed

AskedT = TypeVar("AskedT", bound=BaseModel)

#: For whom an answer is checked or measured, not for whom it is given.
FULL_ONLY = frozenset({"types", "computed_at", "took_ms", "age_s"})
#: What goes without saying. Whether pending changes are known is told by staleness_s.
USUAL: dict[str, tuple[Any, ...]] = {
    "next_cursor": (None,),
    "freshness": ("live",),
    "route": ("materialized",),
    "pending": (0, None),
    "degradations": ([],),
    "warnings": ([],),
}
#: An answer is usually computed this soon after a look at the source.
CHECKED_WITHIN = timedelta(seconds=60)


def told(payload: dict[str, Any], detail: Detail) -> dict[str, Any]:
    """The answer in the shape of contract.QueryViewOutput, as much of it as was asked for."""
    if detail == "full":
        return payload
    kept = {
        name: part
        for name, part in payload.items()
        if name not in FULL_ONLY and part not in USUAL.get(name, ())
    }
    if not kept["speed"]["entries"]:
        del kept["speed"]
    if "pending" not in kept and _looked_lately(payload):
        del kept["checked_at"]
    return kept


def _looked_lately(payload: dict[str, Any]) -> bool:
    checked_at = payload["checked_at"]
    return checked_at is None or payload["computed_at"] - checked_at <= CHECKED_WITHIN


def question(arguments: Detailed, model: type[AskedT]) -> AskedT:
    """The question alone: how much is told of its answer is not part of it."""
    names = model.model_fields
    return model.model_construct(
        arguments.model_fields_set & names.keys(),
        **{name: getattr(arguments, name) for name in names},
    )
