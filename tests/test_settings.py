"""Settings: where they come from, and what a wrong one says."""

from __future__ import annotations

from pathlib import Path

import pytest

from researchflow_server.settings import (
    VARIABLES,
    SettingsError,
    child_environment,
    read_settings,
    settings_help,
)


def test_nothing_set_gives_embedded_services_in_the_users_data_directory() -> None:
    settings = read_settings({"XDG_DATA_HOME": "/data"})
    assert settings.home == Path("/data/researchflow")
    assert settings.database_url is None
    assert settings.redis_url is None
    assert settings.use_speed_layer is True


def test_a_relative_home_does_not_follow_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert read_settings({"RESEARCHFLOW_HOME": "here"}).home == tmp_path / "here"


@pytest.mark.parametrize(("text", "expected"), [("false", False), ("0", False), ("TRUE", True)])
def test_use_speed_layer_reads_the_usual_words(text: str, expected: bool) -> None:
    assert read_settings({"USE_SPEED_LAYER": text}).use_speed_layer is expected


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("USE_SPEED_LAYER", "perhaps"),
        ("RESEARCHFLOW_HTTP_PORT", "70000"),
        ("RESEARCHFLOW_HTTP_PORT", "http"),
        ("RESEARCHFLOW_DATABASE_URL", "mysql://somewhere"),
        ("RESEARCHFLOW_REDIS_URL", "localhost:6379"),
        ("RESEARCHFLOW_RESULT_BYTES_MAX", "1000000"),
        ("RESEARCHFLOW_PENDING_CHECK_S", "nan"),
        ("RESEARCHFLOW_SOURCE_ZONE", "Mars/Olympus"),
        ("RESEARCHFLOW_REFRESH_OBJECTIVE_S", "-1"),
        ("RESEARCHFLOW_REFRESH_OBJECTIVES", "patient_simple"),
        ("RESEARCHFLOW_REFRESH_OBJECTIVES", "patient_simple=-1"),
        ("RESEARCHFLOW_SOURCE_BASE_URLS", "https://good/fhir,fhir"),
        ("RESEARCHFLOW_SOURCE_PARTITIONS", "default,clinic"),
    ],
)
def test_a_wrong_value_is_refused_naming_its_variable(variable: str, value: str) -> None:
    with pytest.raises(SettingsError) as refused:
        read_settings({variable: value})
    assert refused.value.field == variable
    assert variable in refused.value.message
    assert variable in refused.value.hint


def test_a_refusal_keeps_the_names_as_they_must_be_written() -> None:
    with pytest.raises(SettingsError) as refused:
        read_settings({"RESEARCHFLOW_SOURCE_ZONE": "Mars/Olympus"})
    assert refused.value.message == (
        'setting "RESEARCHFLOW_SOURCE_ZONE" is not valid: "Mars/Olympus" is no value of the '
        "source's zone; give an IANA zone that this machine knows, as Europe/Berlin"
    )


def test_a_wrong_url_does_not_show_its_password() -> None:
    with pytest.raises(SettingsError) as refused:
        read_settings({"RESEARCHFLOW_DATABASE_URL": "mysql://user:geheim@host/db"})
    assert "geheim" not in str(refused.value.as_dict())


def test_an_empty_variable_counts_as_absent() -> None:
    assert read_settings({"RESEARCHFLOW_DATABASE_URL": ""}).database_url is None


def test_a_flag_wins_over_the_environment_and_an_absent_one_does_not() -> None:
    environment = {"RESEARCHFLOW_HTTP_PORT": "9000"}
    assert read_settings(environment, http_port=9001).http_port == 9001
    assert read_settings(environment, http_port=None).http_port == 9000


def test_a_child_process_reads_the_same_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESEARCHFLOW_HTTP_PORT", "1234")
    settings = read_settings(
        {
            "RESEARCHFLOW_HOME": "/h",
            "USE_SPEED_LAYER": "no",
            "RESEARCHFLOW_ALLOWED_HOSTS": "a.example, b.example",
        }
    )
    assert read_settings(child_environment(settings)) == settings


def test_every_setting_is_documented() -> None:
    described = {line.split()[0]: line.split()[1:] for line in settings_help().splitlines()}
    assert described.keys() == set(VARIABLES.values())
    assert [name for name, words in described.items() if words[:1] in ([], ["None"])] == []


def test_objectives_of_single_views_are_read_and_handed_on() -> None:
    given = {"RESEARCHFLOW_REFRESH_OBJECTIVES": "patient_simple=30, own=600.5"}
    settings = read_settings(given)
    assert settings.refresh_objectives == {"patient_simple": 30.0, "own": 600.5}
    assert read_settings(child_environment(settings)) == settings


@pytest.mark.parametrize(
    ("objectives", "every_s", "expected_s"),
    [
        ("quick=30", 60, 7.5),
        ("patient_simpel=0.4", 60, 15.0),
        ("quick=0", 60, 15.0),
        ("quick=0,slow=0", 60, 30.0),
        ("quick=20", 0, 5.0),
        ("", 0, 30.0),
    ],
)
def test_source_is_looked_at_as_often_as_the_views_there_are_need(
    objectives: str, every_s: float, expected_s: float
) -> None:
    settings = read_settings(
        {
            "RESEARCHFLOW_REFRESH_OBJECTIVES": objectives,
            "RESEARCHFLOW_REFRESH_OBJECTIVE_S": str(every_s),
        }
    )
    assert settings.look_s(["quick", "slow"]) == expected_s
