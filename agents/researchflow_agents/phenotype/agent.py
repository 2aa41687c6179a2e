"""The phenotype agent: typed criteria in, a dated cohort count with its attrition out."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from researchflow_agents.client import ToolClient, wire_arguments
from researchflow_agents.errors import UNSUPPORTED, AgentError
from researchflow_agents.moment import Moment, Opening, open_moment, single_count
from researchflow_agents.phenotype.criteria import Phenotype
from researchflow_agents.phenotype.reading import name_of
from researchflow_agents.phenotype.result import (
    AttritionStep,
    Freshness,
    PhenotypeResult,
    ToolCall,
)
from researchflow_agents.phenotype.translation import truth_of
from researchflow_agents.phenotype.truth import PATIENTS, Truth, all_of
from researchflow_agents.phenotype.vocabulary import check_vocabulary
from researchflow_server.contract import QUERY_VIEW, Filter, FullAnswer, Query


async def run_phenotype(
    client: ToolClient,
    phenotype: Phenotype,
    *,
    freshness: Freshness = "anchored",
    as_of: int | datetime | str | None = None,
) -> PhenotypeResult:
    """Counts the cohort, and how many patients each further criterion leaves.

    Each count is one `query_view` call. Raises AgentError `unsupported` for a criterion that the
    records do not allow to be asked exactly, or the tool's own error.
    """
    opening = await open_moment(client, freshness=freshness, as_of=as_of, on=phenotype.on)
    moment = opening.moment
    warnings = await check_vocabulary(client, phenotype.all_of, moment)
    truths = [truth_of(criterion, on=moment.on) for criterion in phenotype.all_of]
    steps: list[AttritionStep] = []
    before, answer, query = opening.patients, opening.answer, moment.query(PATIENTS, None)
    for number, criterion in enumerate(phenotype.all_of, start=1):
        name = name_of(criterion)
        query = moment.query(PATIENTS, all_of([truth.holds for truth in truths[:number]]))
        answer = await _ask(client, query, name=name)
        count = single_count(answer)
        removed = before - count
        failed = await _failed(client, truths[:number], removed, moment=moment, name=name)
        undecided = None if failed is None else removed - failed
        steps.append(AttritionStep(label=name, count=count, removed=removed, undecided=undecided))
        before = count
    return _result(phenotype, opening, steps, query=query, answer=answer, warnings=warnings)


def cohort_filter(phenotype: Phenotype, moment: Moment) -> Filter:
    """The patients of the cohort, as a filter of patient_demographics."""
    return all_of([truth_of(criterion, on=moment.on).holds for criterion in phenotype.all_of])


async def _ask(client: ToolClient, query: Query, *, name: str) -> FullAnswer:
    try:
        return await client.query_view(query)
    except AgentError as error:
        if error.code != "filter_too_large":
            raise
        raise AgentError.of(
            UNSUPPORTED,
            f'criterion "{name}" makes the question larger than the server takes',
            field=name,
            hint="nest all_of and any_of less deeply, or use fewer criteria",
        ) from error


async def _failed(
    client: ToolClient, truths: Sequence[Truth], removed: int, *, moment: Moment, name: str
) -> int | None:
    """How many of those that the last criterion removed fail it; the others are undecided."""
    if moment.anchor is None:
        return None
    if truths[-1].decided or removed == 0:
        return removed
    where = all_of([*(truth.holds for truth in truths[:-1]), truths[-1].fails])
    return single_count(await _ask(client, moment.query(PATIENTS, where), name=name))


def _result(
    phenotype: Phenotype,
    opening: Opening,
    steps: Sequence[AttritionStep],
    *,
    query: Query,
    answer: FullAnswer,
    warnings: Sequence[str],
) -> PhenotypeResult:
    undecided = sum(step.undecided or 0 for step in steps)
    said = [*warnings, *answer.warnings]
    if undecided:
        said.append(f"{undecided} patients are left out because their records do not tell")
    return PhenotypeResult(
        phenotype=phenotype,
        count=steps[-1].count,
        patients=opening.patients,
        attrition=tuple(steps),
        on=opening.moment.on,
        freshness="live" if opening.moment.anchor is None else "anchored",
        anchor=answer.anchor,
        data_as_of=answer.data_as_of,
        computed_at=answer.computed_at,
        staleness_s=answer.staleness_s,
        degradations=tuple(each.message for each in answer.degradations),
        warnings=tuple(said),
        call=ToolCall(tool=QUERY_VIEW, arguments=wire_arguments(query)),
    )
