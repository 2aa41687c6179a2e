"""The error tree of the runners.

    ResearchFlowError
    ├── FhirPathError        a path that does not parse or does not type      (not retryable)
    ├── ViewDefinitionError  a ViewDefinition that breaks the standard        (not retryable)
    ├── QueryError           an unknown view, column, operator or value       (not retryable)
    ├── FreshnessError       an anchor or max_staleness that cannot be met    (not retryable)
    ├── SourceDataError      input that is not FHIR, a source that is no HAPI (not retryable)
    ├── AddressError         a database URL, or what it leads to, is unfit    (not retryable)
    ├── ServiceError         an embedded PostgreSQL or Redis cannot start     (not retryable)
    ├── BackupError          a backup that is damaged, or a place for one     (not retryable)
    ├── RefreshError         a refresh that is running, or that failed        (retryable)
    │   └── ViewFailsError   one view of it cannot be computed
    ├── StoreError           PostgreSQL or Redis cannot be reached            (retryable)
    └── StatementError       PostgreSQL rejected a statement or its data      (not retryable)

Messages are lowercase and name the thing in quotes; a hint is one sentence to act on.
No message carries a value read from a patient's record.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from researchflow_runners.naming import NAMES_LISTED_MAX, is_unlisted


@dataclass(frozen=True, slots=True)
class Span:
    """Half-open character range `[start, end)` in a FHIRPath expression or a SQL text."""

    start: int
    end: int


class ResearchFlowError(Exception):
    """Base of every error that a caller may see.

    `code` is stable and machine-readable, `field` names the argument or path at fault,
    `allowed` lists what would have been accepted, the nearest first where not all of it is shown,
    `did_you_mean` the nearest of those.
    """

    retryable: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        code: str,
        hint: str,
        field: str | None = None,
        allowed: Sequence[str] = (),
        did_you_mean: str | None = None,
        span: Span | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.hint = hint
        self.field = field
        self.allowed = tuple(name for name in allowed if not is_unlisted(name))
        self.did_you_mean = did_you_mean
        self.span = span

    @property
    def allowed_words(self) -> str:
        """What is allowed as a line of text, as much of it as anybody reads."""
        rest = len(self.allowed) - NAMES_LISTED_MAX
        names = ", ".join(self.allowed[:NAMES_LISTED_MAX])
        return f"{names} and {rest} more" if rest > 0 else names

    def as_dict(self) -> dict[str, Any]:
        """The error as tools and `--json` show it; absent parts are left out."""
        rest = len(self.allowed) - NAMES_LISTED_MAX
        parts: dict[str, Any] = {
            "code": self.code,
            "message": self.message,
            "field": self.field,
            "allowed": list(self.allowed[:NAMES_LISTED_MAX]) or None,
            "allowed_more": rest if rest > 0 else None,
            "did_you_mean": self.did_you_mean,
            "span": [self.span.start, self.span.end] if self.span else None,
            "retryable": self.retryable,
            "hint": self.hint,
        }
        return {name: value for name, value in parts.items() if value is not None}


class FhirPathError(ResearchFlowError):
    """A FHIRPath expression that does not parse, type or compile; `span` says where."""


class ViewDefinitionError(ResearchFlowError):
    """A ViewDefinition that breaks the standard; `field` is the path into its JSON."""


class QueryError(ResearchFlowError):
    """A query that names something unknown or compares what cannot be compared."""


class FreshnessError(ResearchFlowError):
    """An anchor that is unknown or expired, or a staleness bound that cannot be met."""


class SourceDataError(ResearchFlowError):
    """Input that is not a FHIR resource, or a source without HAPI's tables."""


class AddressError(ResearchFlowError):
    """A database URL that cannot be honoured, or a server there that does not take us."""


class ServiceError(ResearchFlowError):
    """An embedded PostgreSQL or Redis that cannot be started or stopped."""


class BackupError(ResearchFlowError):
    """A backup that is incomplete, damaged or newer, or a place that cannot hold one."""


class RefreshError(ResearchFlowError):
    """A refresh that could not run or finish; nothing was published."""

    retryable = True


class ViewFailsError(RefreshError):
    """A view that cannot be computed, through no fault of single resources; `why` says how."""

    def __init__(self, view: str, why: str) -> None:
        super().__init__(
            f'view "{view}" {why}',
            code="view_fails",
            hint="correct the ViewDefinition: a column or filter does not fit the data",
            field=view,
        )
        self.why = why


class StoreError(ResearchFlowError):
    """PostgreSQL or Redis could not be reached or refused; safe to try again."""

    retryable = True


class StatementError(ResearchFlowError):
    """A statement that PostgreSQL rejected; `sqlstate` says why, the server's text is withheld."""

    def __init__(self, message: str, *, sqlstate: str, hint: str, field: str | None = None) -> None:
        super().__init__(message, code="statement_rejected", hint=hint, field=field)
        self.sqlstate = sqlstate
