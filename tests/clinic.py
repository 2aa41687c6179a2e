"""A small clinic: source, warehouse, Redis and every layer over them, for tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

from researchflow_runners.batch.refresher import Refresher
from researchflow_runners.batch.result import RefreshResult
from researchflow_runners.compiler import CompiledView, compile_view
from researchflow_runners.hybrid.result import Answer
from researchflow_runners.hybrid.runner import HybridRunner
from researchflow_runners.query.model import Query
from researchflow_runners.source.load import delete_resource, expunge, put_resource
from researchflow_runners.source.reader import HapiSource
from researchflow_runners.speed.change import Change, ChangeOutcome
from researchflow_runners.speed.projector import Projector
from researchflow_runners.speed.redis_client import RedisClient
from researchflow_runners.speed.writer import ChangeWriter
from researchflow_runners.store.database import Database
from researchflow_runners.views import shipped_views

CURSOR_KEY = b"a key that only tests use"
VIEW_NAMES = ("patient_simple", "condition_simple", "observation_labs")


@cache
def compiled(*names: str) -> tuple[CompiledView, ...]:
    """The shipped views of these names."""
    return tuple(compile_view(one) for one in shipped_views() if one["name"] in names)


@dataclass
class Clinic:
    """`database` is the warehouse; `source.database` may be another one."""

    database: Database
    source: HapiSource
    redis: RedisClient
    projector: Projector
    writer: ChangeWriter
    runner: HybridRunner
    views: tuple[CompiledView, ...]

    async def put(self, *resources: dict[str, Any] | bytes) -> None:
        """Stores the resources in the FHIR server; nobody else is told."""
        for resource in resources:
            await put_resource(self.source.database, resource)

    async def delete(self, reference: str) -> None:
        """Deletes in the FHIR server; nobody else is told."""
        await delete_resource(self.source.database, *reference.split("/"))

    async def expunge(self, reference: str) -> None:
        """Removes from the FHIR server without trace; nobody else is told."""
        await expunge(self.source.database, *reference.split("/"))

    async def refresh(self, views: Sequence[CompiledView] | None = None) -> RefreshResult:
        """Publishes the next anchor."""
        return await Refresher(self.database, self.source, views or self.views).refresh()

    async def cache(self, *changes: dict[str, Any] | bytes | str) -> list[ChangeOutcome]:
        """Inserts resources and deletes references through the speed layer's door."""
        return await self.writer.apply(
            [
                Change.delete(*one.split("/")) if isinstance(one, str) else Change.put(one)
                for one in changes
            ],
            provenance="test",
        )

    def ask(self, view: str, **asked: Any) -> Any:
        """The answer to a query given as its JSON."""
        return self.runner.query(Query.model_validate({"view": view, **asked}))

    async def ids(self, view: str, **asked: Any) -> list[str]:
        """The ids that the query gives."""
        answer: Answer = await self.ask(view, columns=["id"], **asked)
        return [row[0] for row in answer.rows]

    def another_runner(self, **changes: Any) -> HybridRunner:
        """A runner over the same stores with other settings."""
        given = {
            "db_client": self.database,
            "redis_client": self.redis,
            "source": self.source,
            "views": self.views,
            "cursor_key": CURSOR_KEY,
        }
        return HybridRunner(**{**given, **changes})


@asynccontextmanager
async def open_clinic(
    postgres_dsn: str,
    redis_url: str,
    *,
    source_dsn: str | None = None,
    views: Sequence[CompiledView] | None = None,
) -> AsyncIterator[Clinic]:
    """A clinic without patients, nothing refreshed yet."""
    database = await Database.connect(postgres_dsn)
    source_database = await Database.connect(source_dsn) if source_dsn else database
    await database.install_schema()
    redis = await RedisClient.connect(redis_url)
    source = HapiSource(source_database)
    chosen = tuple(views or compiled(*VIEW_NAMES))
    projector = Projector(database, redis, chosen)
    writer = ChangeWriter(database=database, redis=redis, projector=projector, source=source)
    runner = HybridRunner(database, redis, source=source, views=chosen, cursor_key=CURSOR_KEY)
    try:
        yield Clinic(database, source, redis, projector, writer, runner, chosen)
    finally:
        await redis.close()
        await database.close()
        if source_database is not database:
            await source_database.close()


async def cut_off_writer(clinic: Clinic, dsn: str) -> ChangeWriter:
    """A writer that could once ask the source at this DSN and cannot any more."""
    source = HapiSource(await Database.connect(dsn))
    writer = ChangeWriter(
        database=clinic.database, redis=clinic.redis, projector=clinic.projector, source=source
    )
    await writer.confirm([("Patient", "nobody")], provenance="test")
    await source.database.close()
    return writer


def patient(name: str, **fields: Any) -> dict[str, Any]:
    """A Patient of that id; female unless told otherwise."""
    return {"resourceType": "Patient", "id": name, "gender": "female", **fields}


def condition(name: str, of: str, code: str = "E11", **fields: Any) -> dict[str, Any]:
    """A Condition with an ICD-10 code."""
    coding = {"system": "http://hl7.org/fhir/sid/icd-10-cm", "code": code}
    return {
        "resourceType": "Condition",
        "id": name,
        "subject": {"reference": f"Patient/{of}"},
        "code": {"coding": [coding], "text": code},
        **fields,
    }


def lab(name: str, of: str, value: float | None = 7.5, **fields: Any) -> dict[str, Any]:
    """A final laboratory Observation of HbA1c; None is a result without a value."""
    category = "http://terminology.hl7.org/CodeSystem/observation-category"
    return {
        "resourceType": "Observation",
        "id": name,
        "status": "final",
        "category": [{"coding": [{"system": category, "code": "laboratory"}]}],
        "code": {"coding": [{"system": "http://loinc.org", "code": "4548-4"}]},
        "subject": {"reference": f"Patient/{of}"},
        "effectiveDateTime": "2024-03-01",
        "valueQuantity": {"unit": "%"} if value is None else {"value": value, "unit": "%"},
        **fields,
    }
