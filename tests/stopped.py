"""Processes that hang: stopped by SIGSTOP, so that the kernel still takes what is sent to them."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def stopped(pid: int | None) -> Iterator[None]:
    """The process and its children hang inside, and go on after."""
    assert pid is not None
    family = _family(pid)
    try:
        for one in family:
            _signal(one, signal.SIGSTOP)
        yield
    finally:
        for one in reversed(family):
            _signal(one, signal.SIGCONT)


def _signal(pid: int, number: signal.Signals) -> None:
    """A session of PostgreSQL may end between the look and the signal."""
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _family(pid: int) -> list[int]:
    """The process and all that it started, parents first."""
    return [pid, *(one for child in _children(pid) for one in _family(child))]


def _children(pid: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if parent == pid:
            found.append(int(stat.parent.name))
    return found
