"""The files in prometheus/ in the hands of promtool and of a running Prometheus."""

from __future__ import annotations

import math
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from prometheus_client import start_http_server

from exported_metrics import IDLE_VIEW, STALE_VIEW, WorkedServer
from prometheus_files import CONFIGURATION, RULE_TESTS, panel_expressions, rules
from prometheus_server import PrometheusServer, prometheus_server, until

PROMTOOL = shutil.which("promtool")
if PROMTOOL is None:
    pytest.skip("needs promtool, which Debian's package prometheus brings", allow_module_level=True)
PROMTOOL_TIMEOUT_S = 60
PROMETHEUS_TIMEOUT_S = 20


def promtool(*arguments: str | Path, given: str | None = None) -> None:
    """Fails with promtool's own words when it does not exit 0."""
    command = [PROMTOOL, *arguments]
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


def test_exported_metrics_follow_the_naming_conventions() -> None:
    promtool("check", "metrics", given=WorkedServer().exposition())


@pytest.fixture(scope="module")
def worked_server() -> WorkedServer:
    return WorkedServer()


@pytest.fixture(scope="module")
def prometheus(
    worked_server: WorkedServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PrometheusServer]:
    """A Prometheus with our rules that scrapes the registry."""
    program = shutil.which("prometheus")
    assert program is not None, "promtool without prometheus"
    endpoint, thread = start_http_server(0, "127.0.0.1", worked_server.metrics.registry)
    with prometheus_server(
        program,
        CONFIGURATION,
        target_port=endpoint.server_port,
        directory=tmp_path_factory.mktemp("prometheus"),
    ) as server:
        assert until(server.is_ready, timeout_s=PROMETHEUS_TIMEOUT_S)
        yield server
    endpoint.shutdown()
    endpoint.server_close()
    thread.join(PROMETHEUS_TIMEOUT_S)


def test_every_panel_shows_a_number_once_the_server_has_worked(
    prometheus: PrometheusServer, worked_server: WorkedServer
) -> None:
    empty = panel_expressions()

    def none_is_empty() -> bool:
        worked_server.work()
        for name, expression in list(empty.items()):
            if any(math.isfinite(value) for value in prometheus.values(expression)):
                del empty[name]
        return not empty

    assert until(none_is_empty, timeout_s=PROMETHEUS_TIMEOUT_S), empty


def test_a_running_prometheus_evaluates_every_rule(prometheus: PrometheusServer) -> None:
    def states() -> dict[str, str]:
        groups = prometheus.api("rules")["groups"]
        return {rule["name"]: rule["health"] for group in groups for rule in group["rules"]}

    names = {rule.get("alert") or rule["record"] for rule in rules()}
    healthy = dict.fromkeys(names, "ok")
    assert until(lambda: states() == healthy, timeout_s=PROMETHEUS_TIMEOUT_S), states()


def test_only_the_view_that_lacks_a_change_is_reported_stale(prometheus: PrometheusServer) -> None:
    def reported() -> list[str]:
        alerts = prometheus.series('ALERTS{alertname="ResearchFlowViewStale"}')
        return [alert["metric"]["view"] for alert in alerts]

    assert until(lambda: reported() == [STALE_VIEW], timeout_s=PROMETHEUS_TIMEOUT_S), reported()
    assert prometheus.values(f'view:researchflow_staleness:seconds{{view="{IDLE_VIEW}"}}') == [0]
