"""A tool as data: its name, words, arguments and the coroutine that does its job."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from mcp_types import ToolAnnotations
from pydantic import BaseModel

from researchflow_server.runtime import Runtime
from researchflow_server.tools.result import Illustrated

InputT = TypeVar("InputT", bound=BaseModel)

#: Reports that `done` of `total` steps are behind us, with a word on what happens now.
Progress = Callable[[float, float, str], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Call:
    """What a tool's coroutine gets beside its arguments."""

    runtime: Runtime
    progress: Progress
    bytes_max: int


@dataclass(frozen=True, slots=True)
class ToolSpec(Generic[InputT]):
    """One tool; `run` gives a JSON-ready payload that fits `Call.bytes_max`, a picture aside."""

    name: str
    title: str
    description: str
    arguments: type[InputT]
    annotations: ToolAnnotations
    run: Callable[[Call, InputT], Awaitable[dict[str, Any] | Illustrated]]
