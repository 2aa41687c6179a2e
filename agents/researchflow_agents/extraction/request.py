"""What to extract: whose records, and which columns of which views."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from researchflow_agents.phenotype.criteria import Phenotype
from researchflow_agents.phenotype.reading import criteria_error
from researchflow_server.contract import Filter

ELEMENTS_MAX = 50
COLUMNS_MAX = 200
PATIENTS_MAX = 1_000_000

#: Also the name of the element's files.
ElementName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
PatientId = Annotated[str, StringConstraints(min_length=1, max_length=64)]
Column = Annotated[str, StringConstraints(min_length=1, max_length=63)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DataElement(_Strict):
    """One file: the rows of a view that belong to the cohort's patients.

    `patient_column` is the view's column that holds the patient's key.
    """

    name: ElementName
    view: str
    columns: Annotated[tuple[Column, ...], Field(min_length=1, max_length=COLUMNS_MAX)]
    where: Filter | None = None
    patient_column: Column = "patient_id"

    @model_validator(mode="after")
    def _columns_differ(self) -> DataElement:
        if len(set(self.columns)) < len(self.columns):
            raise ValueError("a column is named twice")
        return self


class ExtractionRequest(_Strict):
    """A cohort, by criteria or by patient keys, and its data elements."""

    title: str = Field(min_length=1, max_length=200)
    phenotype: Phenotype | None = None
    patients: Annotated[tuple[PatientId, ...], Field(max_length=PATIENTS_MAX)] | None = None
    elements: Annotated[tuple[DataElement, ...], Field(min_length=1, max_length=ELEMENTS_MAX)]

    @model_validator(mode="after")
    def _one_cohort(self) -> ExtractionRequest:
        if (self.phenotype is None) == (self.patients is None):
            raise ValueError("give phenotype or patients, and not both")
        names = [element.name for element in self.elements]
        if len(set(names)) < len(names):
            raise ValueError("two elements have the same name")
        return self


def parse_request(raw: Any) -> ExtractionRequest:
    """The request; what it cannot express is AgentError `unsupported`, never left out."""
    try:
        return ExtractionRequest.model_validate(raw)
    except ValidationError as error:
        raise criteria_error(raw, error.errors(include_url=False)) from None
