"""The extraction agent: a cohort and data elements in, CSV files of one anchor out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from researchflow_agents.client import ToolClient, wire_arguments
from researchflow_agents.errors import INPUT_INVALID, PROTOCOL_ERROR, AgentError
from researchflow_agents.extraction.cohort import chunks, cohort_patients, cohort_warnings
from researchflow_agents.extraction.csv_file import CsvFile
from researchflow_agents.extraction.folder import new_folder, write_new
from researchflow_agents.extraction.manifest import ColumnHeader, ExtractionResult, FileHeader
from researchflow_agents.extraction.request import DataElement, ExtractionRequest
from researchflow_agents.moment import Moment, Opening, open_moment
from researchflow_agents.paging import pages
from researchflow_agents.phenotype.result import ToolCall
from researchflow_agents.phenotype.truth import all_of, one_of
from researchflow_server.contract import QUERY_VIEW, DescribeViewInput, Filter, Query

MANIFEST = "manifest.json"

#: Called with an element's name and the rows written so far.
Progress = Callable[[str, int], None]


@dataclass(frozen=True, slots=True)
class _Extract:
    """What all files of one extract share."""

    client: ToolClient
    request: ExtractionRequest
    moment: Moment
    data_as_of: str
    patients: tuple[str, ...]
    folder: Path
    progress: Progress

    @property
    def anchor(self) -> int:
        assert self.moment.anchor is not None
        return self.moment.anchor


async def run_extraction(
    client: ToolClient,
    request: ExtractionRequest,
    out: Path,
    *,
    as_of: int | datetime | str | None = None,
    progress: Progress = lambda _name, _rows: None,
) -> ExtractionResult:
    """Writes `<name>.csv` and `<name>.meta.json` for every element, and `manifest.json`.

    Everything is read at one anchor: the current one, or that of `as_of`. `out` appears when all
    files are complete; on any error nothing is left of it.
    """
    with new_folder(out) as folder:
        on = request.phenotype.on if request.phenotype else None
        opening = await open_moment(client, freshness="anchored", as_of=as_of, on=on)
        warnings = await cohort_warnings(client, request, opening.moment)
        extract = await _begin(client, request, opening, folder, progress)
        files = [await _write_element(extract, element) for element in request.elements]
        result = _result(extract, files, warnings)
        write_new(folder / MANIFEST, result.model_dump_json(indent=2, by_alias=True) + "\n")
    return result


async def _begin(
    client: ToolClient,
    request: ExtractionRequest,
    opening: Opening,
    folder: Path,
    progress: Progress,
) -> _Extract:
    data_as_of = opening.answer.data_as_of
    if data_as_of is None:
        raise AgentError.of(
            PROTOCOL_ERROR,
            "an anchored answer has no data_as_of",
            hint="use a server and agents of the same version",
        )
    patients = await cohort_patients(client, request, opening.moment)
    return _Extract(client, request, opening.moment, data_as_of, patients, folder, progress)


async def _write_element(extract: _Extract, element: DataElement) -> FileHeader:
    columns = await _columns(extract, element)
    path = extract.folder / f"{element.name}.csv"
    degradations: dict[str, None] = {}
    warnings: dict[str, None] = {}
    with CsvFile(path, element.columns) as file:
        for patients in chunks(extract.patients):
            own = one_of(element.patient_column, patients)
            async for page in pages(extract.client, _query(extract, element, own)):
                file.add(page.rows, page.types)
                degradations |= dict.fromkeys(each.message for each in page.degradations)
                warnings |= dict.fromkeys(each for each in page.warnings if "cut to" not in each)
                extract.progress(element.name, file.row_count)
    header = FileHeader(
        file=path.name,
        title=extract.request.title,
        element=element.name,
        view=element.view,
        anchor=extract.anchor,
        data_as_of=extract.data_as_of,
        created_at=datetime.now(UTC),
        row_count=file.row_count,
        sha256=file.sha256,
        size_bytes=path.stat().st_size,
        columns=columns,
        call=ToolCall(tool=QUERY_VIEW, arguments=wire_arguments(_query(extract, element, None))),
        patients=len(extract.patients),
        formula_like_cells=file.formula_like_cells,
        degradations=tuple(degradations),
        warnings=tuple(warnings),
    )
    text = header.model_dump_json(indent=2, by_alias=True) + "\n"
    write_new(path.with_suffix(".meta.json"), text)
    return header


def _query(extract: _Extract, element: DataElement, own: Filter | None) -> Query:
    given = [part for part in (own, element.where) if part is not None]
    where = all_of(given) if given else None
    return extract.moment.query(element.view, where, columns=element.columns)


async def _columns(extract: _Extract, element: DataElement) -> tuple[ColumnHeader, ...]:
    """The columns as the view describes them; AgentError names one that it does not have."""
    described = await extract.client.describe_view(DescribeViewInput(view=element.view))
    by_name = {
        row["column"]: row
        for row in (dict(zip(described.columns, each, strict=True)) for each in described.rows)
    }
    for name in (*element.columns, element.patient_column):
        if name not in by_name:
            raise AgentError.of(
                INPUT_INVALID,
                f'element "{element.name}": view "{element.view}" has no column "{name}"',
                field=f"{element.name}.columns",
                allowed=list(by_name),
                hint="use columns that describe_view lists",
            )
    return tuple(
        ColumnHeader(
            name=name,
            type=f"{by_name[name]['type']}{'[]' if by_name[name]['list'] else ''}",
            description=by_name[name].get("description"),
            system=by_name[name].get("system"),
        )
        for name in element.columns
    )


def _result(
    extract: _Extract, files: list[FileHeader], warnings: tuple[str, ...]
) -> ExtractionResult:
    request = extract.request
    unknown = len(set(request.patients)) - len(extract.patients) if request.patients else 0
    said = [*warnings]
    if unknown:
        said.append(f"{unknown} of the patients asked for are not in the data")
    return ExtractionResult(
        title=request.title,
        anchor=extract.anchor,
        data_as_of=extract.data_as_of,
        on=extract.moment.on.isoformat(),
        created_at=datetime.now(UTC),
        patients=len(extract.patients),
        patients_unknown=unknown,
        phenotype=request.phenotype.model_dump(mode="json", by_alias=True, exclude_unset=True)
        if request.phenotype
        else None,
        files=tuple(files),
        warnings=tuple(said),
    )
