"""Only views whose rows change with the data alone can be kept."""

from __future__ import annotations

from researchflow_runners.compiler.view import CompiledView
from researchflow_runners.errors import ViewDefinitionError


def require_repeatable(view: CompiledView) -> None:
    """ViewDefinitionError `view_not_repeatable` for a view that reads the clock."""
    if not view.volatile:
        return
    raise ViewDefinitionError(
        f'the view "{view.name}" depends on the day it is computed, so it cannot be materialised',
        code="view_not_repeatable",
        field="name",
        hint="select the date itself, such as birthDate, and filter that column in the query "
        "instead of using today(), now() or timeOfDay(); or run the view directly with "
        "`researchflow view run` or $sql-run",
    )
