"""The demonstration: it succeeds on the synthetic hospital, and a wrong answer fails it."""

from __future__ import annotations

import pytest

from researchflow_server.cli import main
from researchflow_server.cli.outcome import FAILED, OK
from researchflow_server.demo import story


def test_the_demo_shows_the_main_job(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo"]) == OK
    shown = capsys.readouterr().out
    for name in ("at first", "after the insert", "after the delete", "after the refresh"):
        assert name in shown
    assert "every answer was checked" in shown


def test_an_answer_that_is_not_what_it_must_be_fails_the_demo(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the FHIR server's copy of the changes, a refresh cannot absorb them."""

    async def forget(*_args: object) -> None:
        return

    monkeypatch.setattr(story, "put_resource", forget)
    assert main(["demo"]) == FAILED
    error = capsys.readouterr().err
    assert "the refresh absorbed" in error
    assert "Traceback" not in error
