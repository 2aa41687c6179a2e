"""JSON of another shape than FHIR says is refused where it enters, with the element's path."""

from __future__ import annotations

import gzip
import re
from pathlib import Path
from typing import Any

import orjson
import pytest

from researchflow_runners.errors import SourceDataError
from researchflow_runners.fhir.shape import shape_fault
from researchflow_runners.source import files
from researchflow_runners.source.files import REASONS
from researchflow_runners.source.load import load
from researchflow_runners.speed.resource import parse_resource
from researchflow_runners.store.database import Database


@pytest.mark.parametrize(
    ("elements", "path"),
    [
        ({"gender": ["male"]}, "Patient.gender"),
        ({"gender": {"a": 1}}, "Patient.gender"),
        ({"gender": 5}, "Patient.gender"),
        ({"gender": None}, "Patient.gender"),
        ({"birthDate": 19700101}, "Patient.birthDate"),
        ({"active": "true"}, "Patient.active"),
        ({"name": {"family": "X"}}, "Patient.name"),
        ({"name": ["X"]}, "Patient.name"),
        ({"name": [None]}, "Patient.name"),
        ({"name": [{"given": [5]}]}, "Patient.name.given"),
        ({"multipleBirthInteger": 1.5}, "Patient.multipleBirthInteger"),
        ({"multipleBirthInteger": True}, "Patient.multipleBirthInteger"),
        ({"extension": [{"url": "u", "valueDecimal": "1"}]}, "Patient.extension.valueDecimal"),
        ({"contained": [{"resourceType": "Organization", "name": 1}]}, "Patient.contained.name"),
        ({"contact": [{"name": []}]}, "Patient.contact.name"),
    ],
)
def test_wrong_shape_is_found(elements: dict[str, Any], path: str) -> None:
    assert shape_fault({"resourceType": "Patient", **elements}) == path


@pytest.mark.parametrize(
    "elements",
    [
        {},
        {"gender": "male", "active": False, "birthDate": "1970"},
        {"name": [{"given": ["a", None], "_given": [None, {"id": "x"}]}]},
        {"_birthDate": {"extension": []}, "elementOfAnotherRelease": 5},
        {"multipleBirthInteger": 2, "extension": [{"url": "u", "valueDecimal": 1}]},
        {"contained": [{"resourceType": "Unknown", "name": 1}]},
    ],
)
def test_right_shape_passes(elements: dict[str, Any]) -> None:
    assert shape_fault({"resourceType": "Patient", **elements}) is None


def test_every_shared_resource_has_the_shape_of_its_type(shared_dir: Path) -> None:
    found = [*(shared_dir / "data").glob("edge/*.gz"), *(shared_dir / "data").glob("*/P*.gz")]
    resources = [
        orjson.loads(line)
        for file in found
        for line in gzip.decompress(file.read_bytes()).splitlines()
    ]
    assert len(resources) > 1_000
    assert [fault for one in resources if (fault := shape_fault(one))] == []


async def test_load_names_line_and_element(postgres_dsn: str, tmp_path: Path) -> None:
    file = tmp_path / "patients.ndjson"
    file.write_text(
        '{"resourceType":"Patient","id":"a","gender":5}\n'
        '{"resourceType":"Patient","id":"b","multipleBirthInteger":1.5}\n'
        '{"resourceType":"Patient","id":"c","gender":"male"}\n'
    )
    database = await Database.connect(postgres_dsn)
    report = await load(database, [file])
    await database.close()
    assert (report.created, report.rejected) == (1, 2)
    told = [(one.line, one.code, one.element) for one in report.rejections]
    assert told == [
        (1, "wrong_shape", "Patient.gender"),
        (2, "wrong_shape", "Patient.multipleBirthInteger"),
    ]


async def test_exact_decimals_pass_the_check(postgres_dsn: str, tmp_path: Path) -> None:
    file = tmp_path / "observations.ndjson"
    file.write_text(
        '{"resourceType":"Observation","id":"a","valueQuantity":{"value":1.500}}\n'
        '{"resourceType":"Observation","id":"b","valueQuantity":{"value":-0}}\n'
    )
    database = await Database.connect(postgres_dsn)
    report = await load(database, [file])
    await database.close()
    assert (report.created, report.rejected) == (2, 0)


def test_inserted_resource_is_checked() -> None:
    with pytest.raises(SourceDataError) as caught:
        parse_resource({"resourceType": "Patient", "id": "a", "name": {"family": "X"}})
    assert (caught.value.code, caught.value.field) == ("resource_invalid", "Patient.name")


def test_every_reason_code_is_explained() -> None:
    package = Path(files.__file__).parent
    text = "".join(file.read_text() for file in package.glob("*.py"))
    raised = set(re.findall(r'BadResource\(\s*"([a-z_]+)"', text))
    assert raised
    assert raised <= REASONS.keys()
