"""Which view a request runs: one in the request, or a known one by name, reference or URL."""

from __future__ import annotations

from collections.abc import Mapping

from researchflow_runners.compiler import CompiledView, compile_view
from researchflow_runners.errors import FhirPathError, ViewDefinitionError
from researchflow_runners.naming import nearest
from researchflow_server.operations.asked import INSTANCE, Asked
from researchflow_server.operations.body import plain
from researchflow_server.operations.outcome import OperationError
from researchflow_server.runtime import Runtime

VIEW_TYPE = "ViewDefinition"


async def view_of(runtime: Runtime, asked: Asked, *, base_url: str) -> CompiledView:
    """The compiled view; `base_url` is this server's, before the type of a reference.

    OperationError `view_not_found` (404), `subject_type` (422); ViewDefinitionError and
    FhirPathError with `field` as a path from the parameter that carried the view.
    """
    if isinstance(asked.subject, dict):
        return _compiled(asked.subject, asked.named_by)
    views = await runtime.known_views()
    if asked.named_by.endswith("Canonical"):
        view = _by_url(asked.subject, views)
    elif asked.named_by == INSTANCE:
        view = _by_name(asked.subject, views)
    else:
        view = _by_name(_relative(asked.subject, base_url), views)
    if view is None:
        raise _not_found(asked, views)
    return view


def _compiled(definition: Mapping[str, object], parameter: str) -> CompiledView:
    kind = definition.get("resourceType", VIEW_TYPE)
    if not isinstance(kind, str) or kind.rpartition("/")[2] != VIEW_TYPE:
        raise OperationError(
            "what is to run is no ViewDefinition",
            status=422,
            issue="invalid",
            code="subject_type",
            field=parameter,
            allowed=(VIEW_TYPE,),
            hint="send a resource of an allowed type",
        )
    try:
        return compile_view(plain(dict(definition)))
    except (ViewDefinitionError, FhirPathError) as error:
        error.field = f"{parameter}.{error.field}" if error.field else parameter
        raise


def _by_url(canonical: str, views: Mapping[str, CompiledView]) -> CompiledView | None:
    url, _, version = canonical.partition("|")
    return next(
        (
            view
            for view in views.values()
            if view.definition.get("url") == url and version in ("", view.definition.get("version"))
        ),
        None,
    )


def _by_name(name: str, views: Mapping[str, CompiledView]) -> CompiledView | None:
    """By the name that the view is asked by everywhere, else by its resource id."""
    if name in views:
        return views[name]
    return next((view for view in views.values() if view.definition.get("id") == name), None)


def _relative(reference: str, base_url: str) -> str:
    """The name in a reference to a ViewDefinition of this server; other text as it is."""
    return reference.removeprefix(base_url).removeprefix(f"{VIEW_TYPE}/")


def _not_found(asked: Asked, views: Mapping[str, CompiledView]) -> OperationError:
    text = str(asked.subject)
    name = text.partition("|")[0].rpartition("/")[2]
    return OperationError(
        f'no view "{text}" is known here',
        status=404,
        issue="not-found",
        code="view_not_found",
        field=None if asked.named_by == INSTANCE else asked.named_by,
        allowed=tuple(views),
        did_you_mean=nearest(name, views),
        hint="name one of the allowed views, or send the ViewDefinition itself",
    )
