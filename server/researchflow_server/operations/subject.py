"""What a request runs: a view or SQL in the request, or a known one by name, reference or URL."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from researchflow_runners.compiler import CompiledView, compile_view
from researchflow_runners.composed.definition import is_library, parse_library
from researchflow_runners.composed.stored import composed_views
from researchflow_runners.composed.view import ComposedView
from researchflow_runners.naming import nearest
from researchflow_server.operations.asked import INSTANCE, Asked
from researchflow_server.operations.body import plain
from researchflow_server.operations.library import SqlSubject
from researchflow_server.operations.outcome import OperationError, placed
from researchflow_server.runtime import Runtime

VIEW_TYPE = "ViewDefinition"
LIBRARY_TYPE = "Library"

Subject: TypeAlias = CompiledView | SqlSubject


async def subject_of(runtime: Runtime, asked: Asked, *, base_url: str, takes_sql: bool) -> Subject:
    """What is to run; `base_url` is this server's, before the type of a reference.

    OperationError `subject_not_found` (404), `subject_type` (422); ViewDefinitionError and
    FhirPathError with `field` as a path from the parameter that carried the subject.
    """
    if isinstance(asked.subject, dict):
        return _of_request(asked.subject, asked.named_by, takes_sql=takes_sql)
    known: dict[str, CompiledView | ComposedView] = {**await runtime.known_views()}
    if takes_sql:
        async with runtime.stores.warehouse.session() as session:
            known = {**await composed_views(session), **known}
    if asked.named_by.endswith("Canonical"):
        found = _by_url(asked.subject, known)
    elif asked.named_by == INSTANCE:
        found = _by_name(asked.subject, known)
    else:
        found = _by_reference(asked.subject.removeprefix(base_url), known)
    if found is None:
        raise _not_found(asked, known)
    return found


def _of_request(definition: dict[str, Any], parameter: str, *, takes_sql: bool) -> Subject:
    if takes_sql and is_library(definition):
        with placed(parameter):
            return parse_library(plain(definition))
    kind = definition.get("resourceType", VIEW_TYPE)
    if not isinstance(kind, str) or kind.rpartition("/")[2] != VIEW_TYPE:
        allowed = (VIEW_TYPE, LIBRARY_TYPE) if takes_sql else (VIEW_TYPE,)
        raise OperationError(
            "what is to run is of another type",
            status=422,
            issue="invalid",
            code="subject_type",
            field=parameter,
            allowed=allowed,
            hint="send a resource of an allowed type",
        )
    with placed(parameter):
        return compile_view(plain(definition))


def _by_url(
    canonical: str, known: Mapping[str, CompiledView | ComposedView]
) -> CompiledView | ComposedView | None:
    url, _, version = canonical.partition("|")
    return next(
        (
            one
            for one in known.values()
            if one.definition.get("url") == url and version in ("", one.definition.get("version"))
        ),
        None,
    )


def _by_reference(
    reference: str, known: Mapping[str, CompiledView | ComposedView]
) -> CompiledView | ComposedView | None:
    """By `Type/name`, or by the name alone."""
    kind, slash, name = reference.partition("/")
    found = _by_name(name if slash else reference, known)
    is_sql = isinstance(found, ComposedView)
    return found if not slash or kind == (LIBRARY_TYPE if is_sql else VIEW_TYPE) else None


def _by_name(
    name: str, known: Mapping[str, CompiledView | ComposedView]
) -> CompiledView | ComposedView | None:
    """By the name that the view is asked by everywhere, else by its resource id."""
    if name in known:
        return known[name]
    return next((one for one in known.values() if one.definition.get("id") == name), None)


def _not_found(asked: Asked, known: Mapping[str, CompiledView | ComposedView]) -> OperationError:
    text = str(asked.subject)
    name = text.partition("|")[0].rpartition("/")[2]
    return OperationError(
        f'"{text}" is not known here',
        status=404,
        issue="not-found",
        code="subject_not_found",
        field=None if asked.named_by == INSTANCE else asked.named_by,
        allowed=tuple(known),
        did_you_mean=nearest(name, known),
        hint="name one of the allowed views, or send the definition itself",
    )
