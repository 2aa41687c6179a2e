"""The files in prometheus/ in the hands of promtool and of a running Prometheus."""

from __future__ import annotations

import math
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import yaml

from prometheus_files import CONFIGURATION, RULE_TESTS, panel_expressions, rules
from prometheus_server import PrometheusServer, prometheus_server, until
from worked_server import WorkedServer, worked_server

PROMTOOL = shutil.which("promtool")
if PROMTOOL is None:
    pytest.skip("needs promtool, which Debian's package prometheus brings", allow_module_level=True)
PROMTOOL_TIMEOUT_S = 60
PROMETHEUS_TIMEOUT_S = 20


def promtool(*arguments: str | Path, given: str | None = None) -> None:
    """Fails with promtool's own words when it does not exit 0."""
    command = [str(PROMTOOL), *arguments]
    done = subprocess.run(
        command, input=given, capture_output=True, text=True, timeout=PROMTOOL_TIMEOUT_S
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


def test_configuration_and_rules_are_accepted_by_promtool() -> None:
    promtool("check", "config", CONFIGURATION)


def test_rules_fire_and_stay_silent_as_their_unit_tests_say() -> None:
    promtool("test", "rules", *RULE_TESTS)


def test_every_panel_expression_parses(tmp_path: Path) -> None:
    wrapped = [
        {"record": f"panel:{number}", "expr": expression}
        for number, expression in enumerate(panel_expressions().values())
    ]
    path = tmp_path / "panels.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": wrapped}]}))
    promtool("check", "rules", path)


async def test_exported_metrics_follow_the_naming_conventions(
    postgres_dsn: str, redis_url: str, tmp_path: Path
) -> None:
    async with worked_server(postgres_dsn, redis_url, tmp_path) as server:
        promtool("check", "metrics", given=server.exposition())


@asynccontextmanager
async def watched(port: int, directory: Path) -> AsyncIterator[PrometheusServer]:
    """A Prometheus with our rules that scrapes the port."""
    program = shutil.which("prometheus")
    assert program is not None, "promtool without prometheus"
    with prometheus_server(
        program, CONFIGURATION, target_port=port, directory=directory
    ) as prometheus:
        assert await until(prometheus.is_ready, timeout_s=PROMETHEUS_TIMEOUT_S)
        yield prometheus


async def fills_every_panel(prometheus: PrometheusServer, server: WorkedServer) -> None:
    """Works until each panel's expression has given a number."""
    empty = panel_expressions()

    async def none_is_empty() -> bool:
        await server.work()
        for name, expression in list(empty.items()):
            if any(math.isfinite(value) for value in await prometheus.values(expression)):
                del empty[name]
        return not empty

    assert await until(none_is_empty, timeout_s=PROMETHEUS_TIMEOUT_S), empty


async def evaluates_every_rule(prometheus: PrometheusServer) -> None:
    """Waits until each rule was evaluated without an error and no alert is near."""
    healthy = dict.fromkeys((rule.get("alert") or rule["record"] for rule in rules()), "ok")
    seen: dict[str, str] = {}

    async def well() -> bool:
        groups = (await prometheus.api("rules"))["groups"]
        seen.update({rule["name"]: rule["health"] for group in groups for rule in group["rules"]})
        return seen == healthy and await prometheus.series("ALERTS") == []

    assert await until(well, timeout_s=PROMETHEUS_TIMEOUT_S), (
        seen,
        await prometheus.series("ALERTS"),
    )


async def finds_stale_views(prometheus: PrometheusServer, server: WorkedServer) -> None:
    """Waits until the views that lack a change, and no others, are stale."""
    expected = {view: view in server.views_of_patients() for view in server.runtime.views}
    seen: dict[str, bool] = {}

    async def as_expected() -> bool:
        found = await prometheus.series("view:researchflow_staleness:seconds")
        seen.update({one["metric"]["view"]: float(one["value"][1]) > 0 for one in found})
        return seen == expected

    assert await until(as_expected, timeout_s=PROMETHEUS_TIMEOUT_S), seen


async def test_a_running_prometheus_fills_every_panel_and_tells_stale_views_from_idle_ones(
    postgres_dsn: str, redis_url: str, tmp_path: Path
) -> None:
    async with (
        worked_server(postgres_dsn, redis_url, tmp_path) as server,
        watched(server.port, tmp_path) as prometheus,
    ):
        await fills_every_panel(prometheus, server)
        await evaluates_every_rule(prometheus)
        await finds_stale_views(prometheus, server)
