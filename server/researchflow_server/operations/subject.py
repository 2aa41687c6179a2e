"""What a request runs: a view or SQL in the request, or a known one by name, reference or URL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from researchflow_runners.compiler import CompiledView, compile_view
from researchflow_runners.composed.definition import is_library, parse_library
from researchflow_runners.composed.reference import Reference, identity_of
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

    OperationError `subject_not_found` (404), `subject_ambiguous` (400), `subject_type` (422);
    ViewDefinitionError and FhirPathError with `field` as a path from the parameter that carried
    the subject.
    """
    if isinstance(asked.subject, dict):
        return _of_request(asked.subject, asked.named_by, takes_sql=takes_sql)
    known: dict[str, CompiledView | ComposedView] = {**await runtime.known_views()}
    if takes_sql:
        async with runtime.stores.warehouse.session() as session:
            known = {**await composed_views(session), **known}
    if asked.named_by.endswith("Canonical"):
        reference = Reference.to_url(asked.subject)
    else:
        reference = Reference.to_name(asked.subject.removeprefix(base_url))
    meant = reference.meant({name: identity_of(view) for name, view in known.items()})
    if len(meant) == 1:
        return known[meant[0]]
    raise _ambiguous(asked, meant) if meant else _not_found(asked, reference, known)


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


def _ambiguous(asked: Asked, meant: Sequence[str]) -> OperationError:
    return OperationError(
        f'"{asked.subject}" may mean several views',
        status=400,
        issue="multiple-matches",
        code="subject_ambiguous",
        field=_field(asked),
        allowed=meant,
        hint="name one of them, or add the version: URL|version",
    )


def _not_found(
    asked: Asked, reference: Reference, known: Mapping[str, CompiledView | ComposedView]
) -> OperationError:
    return OperationError(
        f'"{asked.subject}" is not known here',
        status=404,
        issue="not-found",
        code="subject_not_found",
        field=_field(asked),
        allowed=tuple(known),
        did_you_mean=nearest(reference.nearby, known),
        hint="name one of the allowed views, or send the definition itself",
    )


def _field(asked: Asked) -> str | None:
    return None if asked.named_by == INSTANCE else asked.named_by
