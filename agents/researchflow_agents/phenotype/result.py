"""What a phenotype amounts to at one anchor."""

from __future__ import annotations

from datetime import date
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from researchflow_agents.phenotype.criteria import Phenotype

Freshness = Literal["live", "anchored"]


class _Result(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class AttritionStep(_Result):
    """How many patients are left once this criterion is added to those before it.

    `removed` counts those who were left before and are not now; `undecided` those among them whose
    records do not tell, None in a live answer, where it cannot be counted at one instant.
    """

    label: str
    count: int
    removed: int
    undecided: int | None


class ToolCall(_Result):
    """One call, so that anyone can repeat it."""

    tool: str
    arguments: dict[str, Any]


class PhenotypeResult(_Result):
    """A cohort's size with everything that dates it.

    `count` is the last step's. Anchored: every number is of `anchor`. Live: the steps were counted
    one after the other, `anchor` and `data_as_of` are the last one's. `on` is the day for which
    ages were told. `call` is the call that gave `count`.
    """

    phenotype: Phenotype
    count: int
    patients: int = Field(description="All patients of patient_demographics")
    attrition: tuple[AttritionStep, ...]
    on: date
    freshness: Freshness
    anchor: int | None
    data_as_of: str | None
    computed_at: str
    staleness_s: float | None
    degradations: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    call: ToolCall
