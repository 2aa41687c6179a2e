"""What lies beside the data: which anchor it is of, what was asked, and how to check it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict

from researchflow_agents.phenotype.result import ToolCall


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ColumnHeader(_Record):
    """One column, in file order."""

    name: str
    type: str
    description: str | None
    system: str | None


class FileHeader(_Record):
    """`<name>.meta.json`: everything that makes `<name>.csv` citable.

    `call` gives the rows at `anchor` when asked for each group of `patients` keys in turn, which
    it leaves out. `formula_like_cells` counts text cells that a spreadsheet might run.
    """

    file: str
    title: str
    element: str
    view: str
    anchor: int
    data_as_of: str
    created_at: datetime
    row_count: int
    sha256: str
    size_bytes: int
    columns: tuple[ColumnHeader, ...]
    call: ToolCall
    patients: int
    formula_like_cells: int
    degradations: tuple[str, ...]
    warnings: tuple[str, ...]


class ExtractionResult(_Record):
    """`manifest.json`: the cohort and the files of one extract, all at `anchor`."""

    title: str
    anchor: int
    data_as_of: str
    on: str
    created_at: datetime
    patients: int
    patients_unknown: int
    phenotype: dict[str, Any] | None
    files: tuple[FileHeader, ...]
    warnings: tuple[str, ...]
