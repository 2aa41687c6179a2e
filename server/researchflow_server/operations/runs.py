"""What the endpoints of one server share: how a subject is run, and how many run at once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from researchflow_runners.compiler import CompiledView
from researchflow_runners.composed.view import ComposedView
from researchflow_server.operations.asked import Asked, check_goes_with
from researchflow_server.operations.inline import inline_rows
from researchflow_server.operations.library import library_rows
from researchflow_server.operations.outcome import OperationError
from researchflow_server.operations.rows import Dated, OpenRows
from researchflow_server.operations.stored import StoredRows
from researchflow_server.operations.subject import Subject
from researchflow_server.runtime import Runtime

#: Each answer keeps a connection; the tools need theirs.
RUNNING_MAX = 4


class Runs:
    """The runs of one runtime."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.stored = StoredRows(runtime)
        self._running = 0
        self._running_max = min(RUNNING_MAX, runtime.settings.pool_max // 2)

    def open(self, subject: Subject, asked: Asked) -> AbstractAsyncContextManager[OpenRows]:
        """The rows of the subject over what is asked; OperationError `parameter_conflict`."""
        check_goes_with(asked, is_view=isinstance(subject, CompiledView))
        if not isinstance(subject, CompiledView):
            return library_rows(self.stored, subject, asked)
        if asked.resources is None:
            return self.stored.open(subject, asked)
        return inline_rows(self.runtime.stores.warehouse, subject, asked)

    def count(self, subject: Subject, dated: Dated) -> None:
        """Counts an answer of a known view like a tool's; SQL of the request is none, whatever it
        calls itself."""
        is_view = isinstance(subject, CompiledView) and dated.view in self.runtime.views
        if (is_view or isinstance(subject, ComposedView)) and dated.route != "inline":
            statistics = self.runtime.hybrid.statistics
            statistics.streamed(dated.view, dated.route, dated.degradations)

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """A place among those that run; OperationError `too_many_requests` when none is left."""
        if self._running >= self._running_max:
            raise OperationError(
                f"{self._running_max} operations are running, which is the most at once",
                status=429,
                issue="throttled",
                code="too_many_requests",
                hint="try again in a moment",
            )
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1
