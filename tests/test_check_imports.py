"""The import check finds each kind of violation, at its file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

import check_imports

RUNNERS = "runners/researchflow_runners"
SERVER = "server/researchflow_server"
AGENTS = "agents/researchflow_agents"

FAULTS = {
    "runners_import_server": (f"{RUNNERS}/store/a.py", "import researchflow_server.app"),
    "runners_import_contract": (f"{RUNNERS}/a.py", "from researchflow_server import contract"),
    "runners_import_agents": (f"{RUNNERS}/a.py", "import researchflow_agents"),
    "server_imports_agents": (f"{SERVER}/a.py", "from researchflow_agents.client import x"),
    "agents_import_runners": (f"{AGENTS}/a.py", "from researchflow_runners.query.model import x"),
    "agents_import_server": (f"{AGENTS}/a.py", "from researchflow_server.app import x"),
    "agents_import_package": (f"{AGENTS}/a.py", "import researchflow_server"),
    "agents_import_by_name": (f"{AGENTS}/a.py", 'x = import_module("researchflow_runners.sql")'),
    "compiler_imports_driver": (f"{RUNNERS}/compiler/a.py", "from asyncpg import Record"),
    "query_imports_redis": (f"{RUNNERS}/query/a.py", "import redis.asyncio"),
    "fhirpath_imports_time": (f"{RUNNERS}/fhirpath/a.py", "import time"),
    "fhir_imports_os": (f"{RUNNERS}/fhir/a.py", "import os"),
    "sql_reads_the_clock": (f"{RUNNERS}/sql.py", "x = datetime.now()"),
    "query_reads_today": (f"{RUNNERS}/query/a.py", "x = datetime.date.today()"),
    "runners_read_environment": (f"{RUNNERS}/store/a.py", 'import os; x = os.environ["A"]'),
    "server_reads_environment": (f"{SERVER}/app.py", 'import os; x = os.getenv("A")'),
    "agents_read_environment": (f"{AGENTS}/a.py", "from os import environ"),
    "environment_by_alias": (f"{AGENTS}/a.py", 'import os as o; x = o.getenv("A")'),
    "runtime_imports_tools": (f"{SERVER}/runtime/a.py", "import researchflow_server.tools.door"),
    "operations_import_mcp": (f"{SERVER}/operations/a.py", "from researchflow_server.mcp import x"),
    "import_in_function": (f"{SERVER}/a.py", "async def f():    import json"),
    "import_in_method": (f"{SERVER}/a.py", "class A: \n  def f(self):\n    from json import dumps"),
    "relative_import_out": (f"{AGENTS}/a.py", "from ..researchflow_runners import sql"),
}

FAIR = {
    "server_imports_runners": (f"{SERVER}/a.py", "from researchflow_runners.sql import Sql"),
    "agents_import_contract": (f"{AGENTS}/a.py", "from researchflow_server.contract import Query"),
    "agents_import_contract_module": (f"{AGENTS}/a.py", "from researchflow_server import contract"),
    "tools_import_runtime": (f"{SERVER}/tools/a.py", "import researchflow_server.runtime"),
    "settings_read_environment": (f"{SERVER}/settings.py", "import os; x = os.environ"),
    "compiler_uses_datetime": (f"{RUNNERS}/compiler/a.py", "from datetime import datetime"),
    "store_imports_driver": (f"{RUNNERS}/store/a.py", "import asyncpg, time"),
    "os_without_environment": (f"{SERVER}/a.py", 'import os; x = os.open("a", os.O_RDONLY)'),
}


def _written(root: Path, path: str, code: str) -> Path:
    file = root / path
    file.parent.mkdir(parents=True)
    file.write_text(f'"""A module."""\n{code}\n')
    return root


@pytest.mark.parametrize("name", FAULTS)
def test_violation_is_found_at_its_line(name: str, tmp_path: Path) -> None:
    path, code = FAULTS[name]
    found = check_imports.violations(_written(tmp_path, path, code))
    assert [(each.path, each.line) for each in found] == [(path, 2 + code.count("\n"))]


@pytest.mark.parametrize("name", FAIR)
def test_allowed_import_passes(name: str, tmp_path: Path) -> None:
    path, code = FAIR[name]
    assert check_imports.violations(_written(tmp_path, path, code)) == []


def test_house_keeps_its_rules() -> None:
    assert check_imports.violations(check_imports.ROOT) == []


def test_modules_of_all_packages_are_looked_at() -> None:
    for package, folder in check_imports.PACKAGES.items():
        assert list((check_imports.ROOT / folder / package).rglob("*.py"))
