"""The patients whose records are extracted, as keys at one anchor."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from researchflow_agents.client import ToolClient
from researchflow_agents.extraction.request import ExtractionRequest
from researchflow_agents.moment import PATIENTS, Moment
from researchflow_agents.paging import pages
from researchflow_agents.phenotype.agent import cohort_filter
from researchflow_agents.phenotype.truth import one_of
from researchflow_agents.phenotype.vocabulary import check_vocabulary
from researchflow_server.contract import Filter

#: Patient keys sent with one question; well below the 1,000 values a filter takes.
PATIENTS_PER_CALL = 400


async def cohort_warnings(
    client: ToolClient, request: ExtractionRequest, moment: Moment
) -> tuple[str, ...]:
    """What the records say about the criteria; AgentError for a criterion they do not allow."""
    if request.phenotype is None:
        return ()
    return await check_vocabulary(client, request.phenotype.all_of, moment)


async def cohort_patients(
    client: ToolClient, request: ExtractionRequest, moment: Moment
) -> tuple[str, ...]:
    """The keys of all patients of the cohort, sorted; of keys given, those that exist."""
    if request.phenotype is not None:
        return await _keys(client, cohort_filter(request.phenotype, moment), moment)
    wanted = sorted(set(request.patients or ()))
    found: list[str] = []
    for chunk in chunks(wanted):
        found += await _keys(client, one_of("id", chunk), moment)
    return tuple(sorted(found))


def chunks(patients: Sequence[str]) -> Iterator[Sequence[str]]:
    """The keys in groups that fit into one question."""
    for start in range(0, len(patients), PATIENTS_PER_CALL):
        yield patients[start : start + PATIENTS_PER_CALL]


async def _keys(client: ToolClient, where: Filter, moment: Moment) -> tuple[str, ...]:
    keys: list[str] = []
    async for page in pages(client, moment.query(PATIENTS, where, columns=["id"])):
        keys += [row[0] for row in page.rows]
    return tuple(sorted(keys))
