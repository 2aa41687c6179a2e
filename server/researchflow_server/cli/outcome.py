"""How a command ends: exit codes, and errors in one line and a hint."""

from __future__ import annotations

import sys

import orjson

from researchflow_runners.errors import ResearchFlowError, ServiceError, StoreError

OK = 0
FAILED = 1
USAGE = 2
UNREACHABLE = 3
PORT_UNAVAILABLE = 4
BUSY = 5
PARTIAL = 6
REFUSED = 7
FULL = 8
TRY_AGAIN = 9
INTERRUPTED = 130

USAGE_CODES = frozenset({"setting_invalid", "setting_missing", "usage"})
#: A store that answers and cannot be used as it is set up, until somebody changes that.
REFUSED_CODES = frozenset(
    {
        *("postgres_refused", "pooler_unfit", "redis_refused", "redis_certificate_untrusted"),
        *("redis_too_old", "redis_eviction_enabled", "redis_read_only"),
    }
)
FULL_CODES = frozenset({"postgres_resources", "redis_out_of_memory", "speed_layer_full"})
UNREACHABLE_CODES = frozenset({"postgres_unavailable", "source_unavailable", "redis_unavailable"})
PORT_CODES = frozenset({"port_in_use", "port_unavailable"})


class UsageError(ResearchFlowError):
    """Arguments of the command line that cannot be meant."""


def exit_code(error: ResearchFlowError) -> int:
    """The exit code that tells a script what to do."""
    if isinstance(error, UsageError) or error.code in USAGE_CODES:
        return USAGE
    if error.code in PORT_CODES:
        return PORT_UNAVAILABLE
    if error.code == "refresh_running":
        return BUSY
    if error.code == "refresh_cancelled":
        return INTERRUPTED
    return _of_store(error)


def _of_store(error: ResearchFlowError) -> int:
    """The exit code of what a store did; what is none of a store's failed for good."""
    if error.code in REFUSED_CODES:
        return REFUSED
    if error.code in FULL_CODES:
        return FULL
    if isinstance(error, ServiceError) or error.code in UNREACHABLE_CODES:
        return UNREACHABLE
    return TRY_AGAIN if isinstance(error, StoreError) else FAILED


def show_error(error: ResearchFlowError, *, as_json: bool = False) -> None:
    """The error on stderr: a line, what is allowed and a hint, or its JSON."""
    if as_json:
        text = orjson.dumps({"error": error.as_dict()}).decode() + "\n"
    else:
        guess = f' (did you mean "{error.did_you_mean}"?)' if error.did_you_mean else ""
        lines = [f"error: {error.message}{guess}{_place(error)} [{error.code}]"]
        if error.allowed:
            lines.append(f"allowed: {error.allowed_words}")
        text = "\n".join([*lines, f"hint: {error.hint}", ""])
    sys.stderr.write(text)


def _place(error: ResearchFlowError) -> str:
    """Where the error is: the path into a definition or query, and the characters of it."""
    place = f" in {error.field}" if error.field and error.field not in error.message else ""
    if error.span is not None:
        place += f" at characters {error.span.start} to {error.span.end}"
    return place
