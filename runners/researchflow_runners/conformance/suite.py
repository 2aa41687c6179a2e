"""Test suites as files: `tests.schema.json` of the SQL on FHIR project."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, NoReturn

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    StrictStr,
    ValidationError,
)

from researchflow_runners.errors import SourceDataError

SUITE_BYTES_MAX = 64 * 1_048_576


def _whole(count: Any) -> Any:
    """A count written as a number without fraction is that number: 2.0 is 2."""
    return int(count) if isinstance(count, Decimal) and count % 1 == 0 else count


class Case(BaseModel):
    """A view and what it is expected to give; the view is judged by the compiler alone.

    Decimals are Decimal, in the view as well, so that they keep the digits they are written with.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    title: StrictStr
    view: Any
    expect: list[dict[str, Any]] | None = None
    expectCount: Annotated[StrictInt | None, BeforeValidator(_whole)] = None
    expectError: StrictBool = False
    expectColumns: list[StrictStr] | None = None


class Malformed(BaseModel):
    """A case, or a whole file, that breaks the format: it fails, and hides no other."""

    model_config = ConfigDict(frozen=True)

    title: str
    reason: str


class _Contents(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    resources: list[Any]
    tests: list[Any] = Field(min_length=1)


class Suite(BaseModel):
    """One file; `document` is its text, whose resources keep their numbers as written."""

    model_config = ConfigDict(frozen=True)

    file: str
    document: str
    cases: tuple[Case | Malformed, ...]


def read_suites(directory: Path, *, besides: Path | None = None) -> list[Suite]:
    """The suites in the `*.json` files below a directory, by path; the file `besides` is none.

    SourceDataError `suites_missing` when there is no such file.
    """
    ignored = None if besides is None else besides.resolve()
    paths = [path for path in sorted(directory.rglob("*.json")) if path.resolve() != ignored]
    if not paths:
        raise SourceDataError(
            f'"{directory}" holds no test suites',
            code="suites_missing",
            hint="give the directory with the *.json files of the SQL on FHIR tests",
        )
    return [_read(path, path.relative_to(directory).as_posix()) for path in paths]


def _read(path: Path, file: str) -> Suite:
    try:
        if path.stat().st_size > SUITE_BYTES_MAX:
            return _no_suite(file, f"it is larger than {SUITE_BYTES_MAX} bytes")
        document = path.read_text("utf-8-sig")
        contents = _Contents.model_validate(
            json.loads(document, parse_float=Decimal, parse_constant=_no_constant)
        )
    except ValidationError as error:
        return _no_suite(file, _first_fault(error))
    except OSError as error:
        return _no_suite(file, error.strerror or "it cannot be read")
    except (ValueError, RecursionError):
        return _no_suite(file, "it is not JSON in UTF-8")
    cases = tuple(_case(test, number) for number, test in enumerate(contents.tests))
    return Suite(file=file, document=document, cases=cases)


def _case(test: Any, number: int) -> Case | Malformed:
    try:
        return Case.model_validate(test)
    except ValidationError as error:
        title = test.get("title") if isinstance(test, dict) else None
        named = title if isinstance(title, str) else f"tests[{number}]"
        return Malformed(title=named, reason=f"it is not a test: {_first_fault(error)}")


def _no_suite(file: str, why: str) -> Suite:
    fault = Malformed(title="the file", reason=f"it is not a test suite: {why}")
    return Suite(file=file, document="{}", cases=(fault,))


def _first_fault(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    return f"{place or 'its content'}: {first['msg'].lower()}"


def _no_constant(name: str) -> NoReturn:
    """Refuses NaN and Infinity, which Python reads and JSON does not have."""
    raise ValueError(name)
