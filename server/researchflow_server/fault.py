"""Faults of our own: told without what they carry, which may be a patient's data."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from researchflow_runners.errors import ResearchFlowError

logger = logging.getLogger(__name__)

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


def sole(error: BaseException) -> ResearchFlowError | None:
    """The error of ours that task groups have wrapped; None when there are others beside it."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error if isinstance(error, ResearchFlowError) else None


def keep_discreet(loop: asyncio.AbstractEventLoop) -> None:
    """Errors that nobody waited for are told by their code or place.

    The loop itself would print them whole, with what PostgreSQL said, which may quote a patient.
    """
    loop.set_exception_handler(_tell)


def _tell(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    error = context.get("exception")
    if isinstance(error, ResearchFlowError):
        logger.info("nobody waited for %s", error.code)
    elif error is not None:
        logger.warning("nobody waited for %s", place_of(error))
    else:
        logger.warning("%s", context["message"])
