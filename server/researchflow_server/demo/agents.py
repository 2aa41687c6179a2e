"""The agents' commands, run as anybody would run them: the server imports no agent."""

from __future__ import annotations

import asyncio
import csv
import sys
from pathlib import Path
from typing import Any

import orjson

from researchflow_server.demo.client import DemoError

TIMEOUT_S = 120.0
PHENOTYPE = "researchflow_agents.phenotype"
EXTRACTION = "researchflow_agents.extraction"
COHORT_EXAMPLE = "diabetes_hba1c_above_8.json"
EXTRACT_EXAMPLE = "diabetes_labs_and_medications.json"


class Agents:
    """Both commands against one server; files go to `out`, a folder that does not exist yet."""

    def __init__(self, url: str, out: Path) -> None:
        self._url = url
        self._out = out

    async def phenotype(self) -> dict[str, Any]:
        """The cohort's count and attrition."""
        file = await _example(PHENOTYPE, COHORT_EXAMPLE)
        return await self._json(PHENOTYPE, "run", file)

    async def extraction(self, *, as_of: int) -> dict[str, Any]:
        """The manifest of the cohort's files, read at that anchor."""
        file = await _example(EXTRACTION, EXTRACT_EXAMPLE)
        places = ("--out", str(self._out), "--as-of", str(as_of))
        return await self._json(EXTRACTION, "run", file, *places)

    def records_in(self, name: str) -> int:
        """How many records a file holds, its header not counted."""
        with (self._out / name).open(newline="", encoding="utf-8") as file:
            return sum(1 for _record in csv.reader(file)) - 1

    async def _json(self, module: str, *arguments: str) -> dict[str, Any]:
        printed = await _run(module, *arguments, "--url", self._url, "--json")
        found: dict[str, Any] = orjson.loads(printed)
        return found


async def _example(module: str, name: str) -> str:
    """The path of an example that ships with the agent."""
    listed = (await _run(module, "examples")).decode().splitlines()
    found = [path for path in listed if path.endswith(name)]
    if not found:
        raise _failed(module, f'it has no example "{name}"')
    return found[0]


async def _run(module: str, *arguments: str) -> bytes:
    """What the command prints; DemoError with its own words when it fails."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", module, *arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(TIMEOUT_S):
            printed, errors = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise _failed(module, f"it did not end within {TIMEOUT_S:g} s") from None
    if process.returncode:
        raise _failed(module, errors.decode().strip())
    return printed


def _failed(module: str, reason: str) -> DemoError:
    return DemoError(
        f'the agent "{module}" failed: {reason}',
        code="agent_failed",
        hint=f"run it by hand: python -m {module} --help",
    )
