"""A synthetic hospital large enough to measure on, in embedded services of its own."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from rich.progress import Progress

from researchflow_runners.source.load import LoadReport, load
from researchflow_runners.source.synthetic import hospital
from researchflow_server.demo.stage import demo_settings, fresh_home
from researchflow_server.runtime import Runtime, open_runtime

#: Enough for 50,000 rows in observation_labs; the figures print the exact sizes.
PATIENTS = 1_400
CONDITIONS = 5_640
#: The reference set that the build is measured on; the other shipped views are built too.
SEVEN = (
    "patient_simple",
    "patient_demographics",
    "condition_simple",
    "condition_diagnoses",
    "medication_requests",
    "observation_labs",
    "procedure_history",
)


@dataclass(frozen=True, slots=True)
class Ward:
    """The runtime over the loaded source, and how it was loaded."""

    runtime: Runtime
    loaded: LoadReport

    @property
    def data(self) -> str:
        """The data, in words."""
        return f"{self.loaded.resources:,} resources"

    async def value(self, statement: str, *arguments: Any) -> Any:
        """The first value that the warehouse gives."""
        async with self.runtime.stores.warehouse.session() as session:
            return await session.fetchval(statement, *arguments)


@asynccontextmanager
async def ward(bar: Progress) -> AsyncIterator[Ward]:
    """The hospital, loaded from NDJSON files; nothing is materialised yet."""
    with fresh_home(keep=False) as home, tempfile.TemporaryDirectory() as files:
        _write_files(Path(files), bar)
        settings = demo_settings(home)
        async with open_runtime(settings, background=False) as runtime:
            task = bar.add_task("loading them", total=None)
            loaded = await load(runtime.stores.source, [Path(files)])
            bar.update(task, total=1, completed=1)
            # As autovacuum would, before the source is read in earnest.
            async with runtime.stores.source.session() as session:
                await session.execute("ANALYZE hfj_resource")
                await session.execute("ANALYZE hfj_res_ver")
            yield Ward(runtime, loaded)


def _write_files(directory: Path, bar: Progress) -> None:
    task = bar.add_task("inventing a hospital", total=PATIENTS)
    with (directory / "hospital.ndjson").open("wb") as file:
        for resource in hospital(patients=PATIENTS, conditions=CONDITIONS):
            file.write(orjson.dumps(resource) + b"\n")
            bar.advance(task, resource["resourceType"] == "Patient")
