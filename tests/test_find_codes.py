"""Words find the codes that occur: by synonyms, abbreviations, typos and codes, live and dated."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from clinic import patient
from composed import sql_view
from researchflow_runners.source.synthetic import hospital
from researchflow_server import contract
from researchflow_server.embedded import Services
from tool_server import ToolServer, module_stores, tool_server

SNOMED = "http://snomed.info/sct"
#: What the synthetic hospital lacks; its own conditions are of an earlier year.
MORE = (
    ("prediabetes", SNOMED, "714628002", "Prediabetes"),
    ("infarct", SNOMED, "22298006", "Myocardial infarction (disorder)"),
    ("pressure", SNOMED, "38341003", "Hypertensive disorder, systemic arterial (disorder)"),
    ("accented", SNOMED, "13445001", "Ménière's disease"),
    ("broken", SNOMED, "125605004", "Frac\u200bture of bone"),
)
OWN = {
    "resourceType": "ViewDefinition",
    "name": "own_codes",
    "resource": "Condition",
    "status": "active",
    "select": [
        {
            "column": [
                {"path": "getResourceKey()", "name": "id"},
                {"path": "subject.getReferenceKey(Patient)", "name": "who"},
                {
                    "path": "code.coding.first().code",
                    "name": "what",
                    "tag": [{"name": "researchflow/system", "value": SNOMED}],
                },
                {
                    "path": "code.text",
                    "name": "said",
                    "tag": [{"name": "researchflow/display-of", "value": "what"}],
                },
            ]
        }
    ],
}
OVER = sql_view(
    "over_codes",
    "SELECT c.patient_id, c.snomed_code, c.snomed_display FROM conditions AS c"
    " WHERE c.snomed_code = '714628002'",
    conditions="condition_simple",
)


def condition(name: str, of: str, *coding: str, text: str = "") -> dict[str, Any]:
    parts = dict(zip(("system", "code", "display"), coding, strict=False))
    return {
        "resourceType": "Condition",
        "id": name,
        "clinicalStatus": {"coding": [{"code": "active"}]},
        "subject": {"reference": f"Patient/{of}"},
        "code": {"coding": [parts], **({"text": text} if text else {})},
    }


@pytest_asyncio.fixture(scope="module")
async def wards(
    services: Services, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[ToolServer]:
    """A server of a synthetic hospital, refreshed; nobody writes to it."""
    async with (
        module_stores(services, number=6) as (dsn, redis_url),
        tool_server(dsn, redis_url, tmp_path_factory.mktemp("home")) as server,
    ):
        await server.put(*hospital(patients=25, conditions=120))
        await server.put(patient("one"), patient("two"))
        await server.put(*(condition(name, "one", *coding) for name, *coding in MORE))
        await server.call("refresh_views")
        yield server


@pytest_asyncio.fixture
async def server(postgres_dsn: str, redis_url: str, tmp_path: Any) -> AsyncIterator[ToolServer]:
    """A server of two patients, one with a prediabetes, refreshed."""
    async with tool_server(postgres_dsn, redis_url, tmp_path) as opened:
        await opened.put(patient("one"), patient("two"))
        await opened.put(condition("c", "one", SNOMED, "714628002", "Prediabetes", text="before"))
        await opened.call("refresh_views")
        yield opened


async def found(server: ToolServer, text: str, **asked: Any) -> list[dict[str, Any]]:
    answer = await server.call("find_codes", text=text, **asked)
    return [dict(zip(answer["columns"], row, strict=True)) for row in answer["rows"]]


async def codes(server: ToolServer, text: str, **asked: Any) -> list[str]:
    return list(dict.fromkeys(row["code"] for row in await found(server, text, **asked)))


@pytest.mark.parametrize(
    ("text", "code", "why"),
    [
        ("the code for high blood pressure", "59621000", "synonym: high blood pressure → hyp"),
        ("hypertention", "59621000", "typo: hypertention → hypertension"),
        ("hypertesnion", "59621000", "typo: hypertesnion → hypertension"),
        ("hypertnsion", "59621000", "typo: hypertnsion → hypertension"),
        ("HTN", "38341003", "synonym: htn → hypert"),
        ("high blod presure", "38341003", "typo: high blod presure → hypert"),
        ("essential hypertension", "59621000", "word"),
        ("hypertens", "59621000", "hypertens… → hypertensi"),
        ("T2DM", "44054006", "synonym: t2dm → type 2 diabetes mellitus"),
        ("type II diabetes", "44054006", "synonym: type ii diabetes → type 2"),
        ("A1c", "4548-4", "word"),
        ("HbA1c", "4548-4", "synonym: hba1c → hemoglobin a1c"),
        ("eGFR", "33914-3", "synonym: egfr → glomerular filtration rate"),
        ("CKD", "433144002", "synonym: ckd → chronic kidney disease"),
        ("LDL", "13457-7", "word"),
        ("bad cholesterol", "13457-7", "synonym: bad cholesterol → cholesterol in ldl"),
        ("statins", "617310", "synonym: statins → atorvastatin"),
        ("ACE inhibitors", "314076", "synonym: ace inhibitors → lisinopril"),
        ("blood thinner", "1364445", "synonym: blood thinner → apixaban"),
        ("tylenol", "313782", "synonym: tylenol → acetaminophen"),
        ("heart attack", "22298006", "synonym: heart attack → myocardial infarction"),
        ("hart atack", "22298006", "typo: hart atack → myocardial infarction"),
        ("MI", "22298006", "synonym: mi → myocardial infarction"),
        ("flu shot", "140", "synonym: flu shot → influenza"),
        ("knee replacement", "609588000", "word"),
        ("EKG", "29303009", "synonym: ekg → electrocardiographic procedure"),
        ("meniere", "13445001", "word"),
        ("fracture", "125605004", "word"),
        ("I10", "I10", "code"),
        ("E11", "E11.9", "code e11…"),
        ("e11.9", "E11.9", "code"),
        ("44054006", "44054006", "code"),
        ("4548-4", "4548-4", "code"),
        (f"{SNOMED}|44054006", "44054006", "code"),
        ("LOINC:4548-4", "4548-4", "code"),
        ("LOINC 4548-4", "4548-4", "code"),
        ("blood pressure pill", "314076", "synonym: blood pressure pill → lisinopril"),
        ("female", "female", "code"),
    ],
)
async def test_words_find_the_code(wards: ToolServer, text: str, code: str, why: str) -> None:
    rows = await found(wards, text)
    row = next((row for row in rows if row["code"] == code), None)
    assert row is not None, rows
    assert row["matched"].startswith(why)


async def test_a_row_tells_where_the_code_is_and_how_often(wards: ToolServer) -> None:
    rows = await found(wards, "type 2 diabetes", system="icd10")
    assert {row["code"] for row in rows} == {"E11.9"}
    for row in rows:
        counted = await wards.call(
            "query_view",
            view=row["view"],
            where={"column": row["column"], "op": "eq", "value": row["code"]},
            aggregates=[{"fn": "count"}, {"fn": "count_distinct", "column": "patient_id"}],
        )
        assert counted["rows"] == [[row["rows"], row["patients"]]]
    assert [(row["view"], row["column"]) for row in rows] == sorted(
        ((row["view"], row["column"]) for row in rows),
        key=lambda place: next(
            -row["patients"] for row in rows if (row["view"], row["column"]) == place
        ),
    )


async def test_diabetes_comes_before_prediabetes_which_is_told_apart(wards: ToolServer) -> None:
    rows = await found(wards, "diabetes", view="condition_codes")
    last = rows[-1]
    assert rows[0]["display"] == "Type 2 diabetes mellitus"
    assert (last["display"], last["matched"]) == ("Prediabetes", "part of a word: prediabetes")
    assert await codes(wards, "prediabetes") == ["714628002"]


async def test_view_system_and_limit_narrow(wards: ToolServer) -> None:
    assert await codes(wards, "hypertension", view="condition_codes", system="snomed") == [
        "59621000",
        "38341003",
    ]
    assert {row["view"] for row in await found(wards, "hypertension", view="condition_codes")} == {
        "condition_codes"
    }
    answer = await wards.call("find_codes", text="hypertension", limit=1)
    assert (answer["row_count"], answer["truncated"]) == (1, True)
    assert any("larger limit" in warning for warning in answer["warnings"])


async def test_an_answer_is_dated(wards: ToolServer) -> None:
    answer = await wards.call("find_codes", text="I10", detail="full")
    other = await wards.call("query_view", view="condition_simple", limit=1, detail="full")
    assert answer["columns"] == [
        *("code", "system", "display", "view", "column", "patients", "rows", "matched")
    ]
    for part in ("anchor", "data_as_of", "staleness_s", "freshness"):
        assert answer[part] == other[part]


@pytest.mark.parametrize("text", ["statins", "high blod presure", "heart attack"])
async def test_what_the_list_led_to_is_said_to_lack_members_perhaps(
    wards: ToolServer, text: str
) -> None:
    answer = await wards.call("find_codes", text=text)
    assert [one for one in answer["warnings"] if "may lack members" in one]


@pytest.mark.parametrize("text", ["hypertension", "E11", "hypertention"])
async def test_what_codes_and_displays_say_has_no_such_warning(
    wards: ToolServer, text: str
) -> None:
    answer = await wards.call("find_codes", text=text, limit=2)
    assert answer["row_count"]
    assert not any("may lack members" in one for one in answer.get("warnings", []))


async def test_code_that_does_not_occur_is_never_taken_for_words(wards: ToolServer) -> None:
    for text in ("72166-2", "2", "99.9-1", "LOINC 99999-9"):
        assert await found(wards, text) == []


@pytest.mark.parametrize(
    ("text", "asked", "told"),
    [
        ("zzyzx", {}, 'no code or display has "zzyzx"; no word of the data is like it'),
        ("hypxrtxnsixn", {}, '"hypxrtxnsixn"; the nearest words are hypertension'),
        ("gout", {}, 'no code or display has "gout", and none has "gout", which it means'),
        ("atorvastatin knee", {}, 'no code has "atorvastatin", "knee" together'),
        ("2", {}, 'no code "2" occurs; codes here are of http'),
        ("Q99.9", {}, 'no code "q99.9" occurs; codes here are of http'),
        ("hypertension", {"system": "loinc"}, "no code of the system asked for;"),
    ],
)
async def test_nothing_found_is_said_with_what_is_near(
    wards: ToolServer, text: str, asked: dict[str, Any], told: str
) -> None:
    answer = await wards.call("find_codes", text=text, **asked)
    assert answer["rows"] == []
    assert told in "; ".join(answer["warnings"])


async def test_a_word_that_resembles_nothing_is_left_out_and_said(wards: ToolServer) -> None:
    answer = await wards.call("find_codes", text="hypertension zzyzxq")
    assert answer["row_count"]
    assert any('without "zzyzxq"' in warning for warning in answer["warnings"])


@pytest.mark.parametrize(
    ("asked", "code", "field"),
    [
        ({"text": " "}, "text_empty", "text"),
        ({"text": "?!"}, "text_empty", "text"),
        ({"text": "x" * 201}, "text_too_long", "text"),
        ({"text": "x", "view": "conditions"}, "unknown_view", "view"),
        ({"text": "x", "limit": 0}, "invalid_argument", "limit"),
        ({}, "missing_argument", "text"),
    ],
)
async def test_a_wrong_call_says_what_is_wrong(
    wards: ToolServer, asked: dict[str, Any], code: str, field: str
) -> None:
    error = await wards.error("find_codes", **asked)
    assert (error["code"], error["field"]) == (code, field)
    assert error["hint"]


async def test_unrefreshed_warehouse_is_told(
    postgres_dsn: str, redis_url: str, tmp_path: Any
) -> None:
    async with tool_server(postgres_dsn, redis_url, tmp_path) as opened:
        error = await opened.error("find_codes", text="diabetes")
        assert (error["code"], error["field"]) == ("view_not_published", "view")


async def test_what_waits_is_found_at_once_and_merged_after(server: ToolServer) -> None:
    gout = condition("g", "two", SNOMED, "90560007", "Gout")
    await server.call("cache_resources", resources=[gout])
    (row,) = await found(server, "gout", view="condition_codes")
    assert (row["code"], row["patients"], row["rows"]) == ("90560007", 1, 1)
    await server.put(gout)
    await server.call("refresh_views")
    assert await codes(server, "gout") == ["90560007"]
    await server.call("cache_resources", delete=["Condition/g"])
    assert await codes(server, "gout") == []
    await server.call("cache_resources", delete=["Condition/c"])
    assert await codes(server, "prediabetes") == []


async def test_registered_view_has_its_codes_and_a_new_definition_its_own(
    server: ToolServer,
) -> None:
    await server.call("register_view", definition=OWN)
    (row,) = await found(server, "before")
    assert (row["view"], row["column"], row["patients"]) == ("own_codes", "what", 1)
    (columns,) = [part["column"] for part in OWN["select"]]  # type: ignore[attr-defined]
    untold = {**OWN, "select": [{"column": columns[:3]}]}
    await server.call("register_view", definition=untold)
    assert await found(server, "before") == []
    assert [row["column"] for row in await found(server, "714628002", view="own_codes")] == ["what"]
    await server.call("drop_view", view="own_codes")
    assert "own_codes" not in {row["view"] for row in await found(server, "714628002")}


async def test_composed_view_that_is_named_is_counted_from_its_rows(server: ToolServer) -> None:
    await server.call("register_view", definition=OVER)
    answer = await server.call("find_codes", text="prediabetes", view="over_codes")
    assert answer["rows"] == [
        [
            *("714628002", SNOMED, "Prediabetes", "over_codes", "snomed_code"),
            *(1, 1, "word"),
        ]
    ]
    assert any("over_codes" in warning for warning in answer["warnings"])
    assert "over_codes" not in {row["view"] for row in await found(server, "prediabetes")}


async def test_warehouse_of_an_earlier_release_answers_before_and_after_its_refresh(
    server: ToolServer,
) -> None:
    async with server.runtime.stores.warehouse.session() as session:
        await session.execute(
            "TRUNCATE researchflow.code, researchflow.code_table, researchflow.code_display,"
            " researchflow.code_word"
        )
    before = await server.call("find_codes", text="prediabetes")
    assert any(warning.startswith("counted from the rows") for warning in before["warnings"])
    await server.call("refresh_views")
    after = await server.call("find_codes", text="prediabetes")
    assert after["rows"] == before["rows"]
    assert "warnings" not in after


async def test_codes_are_completed_by_their_beginning_or_their_words(wards: ToolServer) -> None:
    finder = wards.runtime.hybrid.codes
    assert await finder.complete("E11") == ["E11.9"]
    assert "59621000" in await finder.complete("hyperten", view="condition_codes")
    assert "I10" not in await finder.complete("hyperten", column="snomed_code")
    assert len(await finder.complete("", most=5)) == 5


def test_the_tool_is_in_the_catalogue_of_names() -> None:
    assert contract.FIND_CODES in contract.TOOL_NAMES
