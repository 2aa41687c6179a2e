"""The known view behind each label of a Library, or the refusal that says what lacks."""

from __future__ import annotations

from collections.abc import Mapping

from researchflow_runners.composed.definition import Dependency, SqlLibrary
from researchflow_runners.composed.reference import Identity
from researchflow_runners.errors import ViewDefinitionError
from researchflow_runners.naming import nearest


def views_behind(library: SqlLibrary, known: Mapping[str, Identity]) -> dict[str, str]:
    """The name of the view behind each label.

    ViewDefinitionError `dependency_not_found`, or `dependency_ambiguous` when several views have
    the canonical URL that is named without its version.
    """
    return {one.label: _view(one, known) for one in library.depends_on}


def _view(dependency: Dependency, known: Mapping[str, Identity]) -> str:
    reference = dependency.view
    meant = reference.meant(known)
    if len(meant) == 1:
        return meant[0]
    if meant:
        raise ViewDefinitionError(
            f'the label "{dependency.label}" may mean several views: "{reference.text}"',
            code="dependency_ambiguous",
            field=dependency.field,
            allowed=sorted(meant),
            hint="Name one of them, or add its version: URL|version.",
        )
    guess = nearest(reference.nearby, known)
    raise ViewDefinitionError(
        f'there is no view "{reference.text}" for the label "{dependency.label}"',
        code="dependency_not_found",
        field=dependency.field,
        allowed=sorted(known),
        did_you_mean=guess,
        hint=_hint(guess, known),
    )


def _hint(guess: str | None, known: Mapping[str, Identity]) -> str:
    hint = "Depend on a materialised or composed view, by its name or its whole canonical URL."
    canonical = known[guess].canonical if guess else None
    return f'{hint} "{guess}" has the URL {canonical}.' if canonical else hint
