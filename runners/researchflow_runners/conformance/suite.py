"""Test suites as files: `tests.schema.json` of the SQL on FHIR project."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any, NoReturn

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    StrictStr,
    ValidationError,
)

from researchflow_runners.errors import SourceDataError

SUITE_BYTES_MAX = 64 * 1_048_576


class Case(BaseModel):
    """A view and what it is expected to give; the view is judged by the compiler alone.

    Decimals are Decimal, in the view as well, so that they keep the digits they are written with.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    title: StrictStr
    view: Any
    expect: list[dict[str, Any]] | None = None
    expectCount: StrictInt | None = None
    expectError: StrictBool = False
    expectColumns: list[StrictStr] | None = None


class _Contents(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    resources: list[Any]
    tests: list[Case] = Field(min_length=1)


class Suite(BaseModel):
    """One file; `document` is its text, whose resources keep their numbers as written."""

    model_config = ConfigDict(frozen=True)

    file: str
    document: str
    cases: tuple[Case, ...]


def read_suites(directory: Path, *, besides: Path | None = None) -> list[Suite]:
    """The suites in the `*.json` files of a directory, by file name; the file `besides` is none.

    SourceDataError `suites_missing` when there are none, `suite_invalid` for a file that is none.
    """
    ignored = None if besides is None else besides.resolve()
    paths = [path for path in sorted(directory.glob("*.json")) if path.resolve() != ignored]
    if not paths:
        raise SourceDataError(
            f'"{directory}" holds no test suites',
            code="suites_missing",
            hint="give the directory with the *.json files of the SQL on FHIR tests",
        )
    return [_read(path) for path in paths]


def _read(path: Path) -> Suite:
    try:
        if path.stat().st_size > SUITE_BYTES_MAX:
            raise _invalid(path, f"it is larger than {SUITE_BYTES_MAX} bytes")
        document = path.read_text("utf-8-sig")
        contents = _Contents.model_validate(
            json.loads(document, parse_float=Decimal, parse_constant=_no_constant)
        )
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise _invalid(path, f"{place or 'its content'}: {first['msg'].lower()}") from error
    except OSError as error:
        raise _invalid(path, error.strerror or "it cannot be read") from error
    except ValueError as error:
        raise _invalid(path, "it is not JSON in UTF-8") from error
    return Suite(file=path.name, document=document, cases=tuple(contents.tests))


def _no_constant(name: str) -> NoReturn:
    """Refuses NaN and Infinity, which Python reads and JSON does not have."""
    raise ValueError(name)


def _invalid(path: Path, why: str) -> SourceDataError:
    return SourceDataError(
        f'"{path.name}" is not a test suite: {why}',
        code="suite_invalid",
        hint="correct the file or move it away; the format is tests.schema.json of SQL on FHIR",
    )
