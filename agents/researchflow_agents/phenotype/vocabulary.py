"""What the records say about a criterion before it is asked: codes that never occur, other units.

A code that occurs nowhere gives an empty cohort without a word, and a threshold over mixed units
a wrong one; the first is a warning, the second an error.
"""

from __future__ import annotations

from collections.abc import Sequence

from researchflow_agents.client import ToolClient
from researchflow_agents.errors import UNSUPPORTED, AgentError
from researchflow_agents.moment import COUNT, Moment
from researchflow_agents.paging import pages
from researchflow_agents.phenotype.criteria import (
    Condition,
    Criterion,
    Demographics,
    Lab,
    Leaf,
    Medication,
)
from researchflow_agents.phenotype.reading import name_of
from researchflow_agents.phenotype.translation import (
    CONDITIONS,
    LABS,
    MEDICATIONS,
    PROCEDURES,
    condition_codes,
    condition_system,
    leaves,
    procedure_column,
)
from researchflow_agents.phenotype.truth import all_of, one_of
from researchflow_server.contract import Compare, Filter, InQuery, SubQuery

SHOWN_MAX = 20


async def check_vocabulary(
    client: ToolClient, criteria: Sequence[Criterion], moment: Moment
) -> tuple[str, ...]:
    """Warnings; AgentError `unsupported` names a criterion whose unit is not the only one."""
    found = leaves(criteria)
    warnings: list[str] = []
    for leaf in found:
        if isinstance(leaf, Lab) and leaf.units:
            warnings += await _check_units(client, leaf, moment)
        warnings += await _absent_codes(client, leaf, moment)
    return (*warnings, *await _uncoded(client, found, moment))


async def _check_units(client: ToolClient, lab: Lab, moment: Moment) -> list[str]:
    where = all_of([one_of("code", lab.codes), Compare(column="value_quantity", op="not_null")])
    counts = await _counts(client, LABS, where, column="value_unit", moment=moment)
    other = {unit: count for unit, count in counts.items() if unit not in lab.units}
    if not other:
        return []
    shown = ", ".join(
        f'"{unit}" ({count})' if unit is not None else f"none ({count})"
        for unit, count in list(other.items())[:SHOWN_MAX]
    )
    name = name_of(lab)
    if lab.other_units == "undecided":
        return [f'"{name}": results in other units than "{lab.unit}" decide nothing: {shown}']
    raise AgentError.of(
        UNSUPPORTED,
        f'criterion "{name}" compares in "{lab.unit}", and results also occur in: {shown}',
        field=f"{name}.unit",
        allowed=[str(unit) for unit in counts if unit is not None][:SHOWN_MAX],
        hint="list spellings of the same unit in same_unit, or set other_units to undecided",
    )


async def _absent_codes(client: ToolClient, leaf: Leaf, moment: Moment) -> list[str]:
    if isinstance(leaf, Demographics) or not leaf.codes:
        return []
    view, column, where = _code_place(leaf)
    counts = await _counts(client, view, where, column=column, moment=moment)
    by_prefix = isinstance(leaf, Condition) and leaf.prefix
    present = [str(code) for code in counts]
    absent = [
        code
        for code in leaf.codes
        if not (_has_prefix(code, present) if by_prefix else code in present)
    ]
    if not absent:
        return []
    shown = ", ".join(f'"{code}"' for code in absent[:SHOWN_MAX])
    more = f" and {len(absent) - SHOWN_MAX} more" if len(absent) > SHOWN_MAX else ""
    return [f'"{name_of(leaf)}": no record has the code {shown}{more}']


def _code_place(leaf: Leaf) -> tuple[str, str, Filter]:
    """The view and column of a criterion's codes, and the rows that have them."""
    assert not isinstance(leaf, Demographics)
    if isinstance(leaf, Condition):
        where = all_of([condition_system(leaf), condition_codes(leaf)])
        return CONDITIONS, "code", where
    if isinstance(leaf, Lab):
        return LABS, "code", one_of("code", leaf.codes)
    if isinstance(leaf, Medication):
        return MEDICATIONS, "medication_code", one_of("medication_code", leaf.codes)
    column = procedure_column(leaf)
    return PROCEDURES, column, one_of(column, leaf.codes)


async def _uncoded(client: ToolClient, found: Sequence[Leaf], moment: Moment) -> list[str]:
    """How many records of the kinds asked for can match no code, and why not."""
    kinds = {leaf.kind for leaf in found if not isinstance(leaf, Demographics) and leaf.codes}
    places: dict[str, tuple[str, Filter]] = {
        "condition": (
            "condition_simple",
            InQuery(
                column="id", op="not_in", query=SubQuery(view=CONDITIONS, column="condition_id")
            ),
        ),
        "lab": (LABS, Compare(column="code", op="is_null")),
        "medication": (MEDICATIONS, Compare(column="medication_code", op="is_null")),
        "procedure": (
            PROCEDURES,
            all_of([Compare(column=name, op="is_null") for name in ("cpt_code", "snomed_code")]),
        ),
    }
    warnings = []
    for kind in sorted(kinds):
        view, where = places[kind]
        answer = await client.query_view(moment.query(view, where))
        count = int(answer.records()[0][COUNT])
        if count:
            warnings.append(f"{count} {kind} records carry no code and match no criterion by code")
    return warnings


async def _counts(
    client: ToolClient, view: str, where: Filter, *, column: str, moment: Moment
) -> dict[str | None, int]:
    counts: dict[str | None, int] = {}
    async for page in pages(client, moment.query(view, where, group_by=[column])):
        counts |= {row[column]: row[COUNT] for row in page.records()}
    return counts


def _has_prefix(prefix: str, codes: Sequence[str]) -> bool:
    return any(code.casefold().startswith(prefix.casefold()) for code in codes)
