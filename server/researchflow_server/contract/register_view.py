"""`register_view`: its arguments and result."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from researchflow_server.contract.base import Input, Output

REGISTER_VIEW = "register_view"


#: A name that expires sooner could be gone before it is asked; one that stays longer, stays.
EXPIRES_MIN_S = 60
EXPIRES_MAX_S = 30 * 24 * 3600


class RegisterViewInput(Input):
    """A definition to publish under its name, replacing the registered view of that name.

    SQL over views may expire and be private: then it goes by a name that nobody can guess and
    no list or error tells. Whoever is given the name can ask it; operators see it.
    """

    definition: dict[str, Any] = Field(
        description="{name: women, sql: SELECT id FROM patient_simple, parameters?}"
        " | ViewDefinition | Library"
    )
    expires_in_s: int | None = Field(default=None, ge=EXPIRES_MIN_S, le=EXPIRES_MAX_S)
    private: bool = False


class RegisterViewOutput(Output):
    """What was published, or the refresh that builds it.

    While it runs, refresh_views tells by `run_id` how it ends. `rows` and `dead_letters` are of
    the view as built; null while it runs, for a composed view, which is computed when it is
    asked, and when this very definition was published before.
    """

    view: str
    status: Literal["running", "published", "failed", "cancelled"]
    run_id: int | None = None
    anchor: int | None = None
    data_as_of: str | None = None
    rows: int | None = None
    dead_letters: int | None = None
    expires_at: str | None = None
    warnings: list[str] = Field(default_factory=list)
