"""A refresher in a process of its own that stops itself, for tests that pause or kill one.

    python refresher_process.py DSN PHASE SIGNAL

It sends itself the signal once the phase's first step is done, before it goes on.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys

from researchflow_runners.batch.result import Progress
from researchflow_runners.errors import ResearchFlowError
from warehouse import open_warehouse


async def main(dsn: str, phase: str, number: signal.Signals) -> str:
    """What became of the refresh: its anchor or the code of its error."""
    stopped = False

    async def stop(step: Progress) -> None:
        nonlocal stopped
        if step.phase == phase and not stopped:
            stopped = True
            os.kill(os.getpid(), number)

    async with open_warehouse(dsn) as house:
        try:
            return f"anchor {(await house.refresh(progress=stop)).anchor}"
        except ResearchFlowError as error:
            return error.code


if __name__ == "__main__":
    sys.stdout.write(asyncio.run(main(sys.argv[1], sys.argv[2], signal.Signals[sys.argv[3]])))
