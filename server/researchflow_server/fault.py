"""Faults of our own: told without what they carry, which may be a patient's data."""

from __future__ import annotations

from researchflow_runners.errors import ResearchFlowError

PLACES_MAX = 4


class InternalError(ResearchFlowError):
    """A fault of the program itself; a log or stderr names the place, nobody the values."""


def internal_error(name: str, hint: str) -> InternalError:
    """The error that a caller of `name` sees."""
    return InternalError(f'"{name}" failed inside the program', code="internal_error", hint=hint)


def place_of(error: BaseException) -> str:
    """Exception class and the code lines it passed, innermost last, without any value."""
    places = []
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        places.append(f"{code.co_filename.rpartition('/')[2]}:{trace.tb_lineno} {code.co_name}")
        trace = trace.tb_next
    return f"{type(error).__name__} at {' > '.join(places[-PLACES_MAX:])}"
