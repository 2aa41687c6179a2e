"""The house's import rules, as a check: prints each violation as `file:line: what`, exit code 1.

    server    may import runners
    agents    import researchflow_server.contract, and nothing else of the product
    runners   import neither

Inside the server arrows go down only: a room imports the rooms of earlier rows of SERVER_ROOMS and
its own. The pure parts of the runners import no driver, clock or environment. Only
server/settings.py reads the environment. No import stands inside a function.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RUNNERS, SERVER, AGENTS = "researchflow_runners", "researchflow_server", "researchflow_agents"
PACKAGES = {RUNNERS: "runners", SERVER: "server", AGENTS: "agents"}

CONTRACT = f"{SERVER}.contract"
SETTINGS = f"server/{SERVER}/settings.py"
#: From the ground up; rooms of one row do not know each other.
SERVER_ROOMS = (
    ("settings", "fault", "contract"),
    ("embedded",),
    ("metrics", "pictures"),
    ("runtime",),
    ("tools", "page"),
    ("mcp", "operations", "feeds", "console"),
    ("http",),
    ("demo",),
    ("bench",),
    ("cli",),
)
FLOOR = {room: floor for floor, rooms in enumerate(SERVER_ROOMS) for room in rooms}
PURE = tuple(
    f"runners/{RUNNERS}/{part}"
    for part in (
        *("fhir/", "fhirpath/", "compiler/", "query/", "sql.py", "naming.py", "errors.py"),
        *(
            f"composed/{name}.py"
            for name in (
                *(
                    "attachment",
                    "casts",
                    "checked",
                    "definition",
                    "dependencies",
                    "grammar",
                    "names",
                ),
                *(
                    "origins",
                    "outputs",
                    "reference",
                    "refusal",
                    "sql_check",
                    "syntax",
                    "view",
                    "vocabulary",
                    "words",
                ),
            )
        ),
    )
)

DRIVERS = ("asyncpg", "psycopg", "redis", "sqlite3", "socket", "httpx", "httpx2", "subprocess")
CLOCKS = ("time", "asyncio", "anyio")
CLOCK_CALLS = {"now", "utcnow", "today"}
ENVIRONMENT = {"environ", "environb", "getenv", "getenvb", "putenv", "unsetenv"}
DYNAMIC = ("__import__", "import_module")


@dataclass(frozen=True, order=True)
class Violation:
    """One broken rule."""

    path: str
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.what}"


@dataclass(frozen=True)
class Module:
    """A parsed file; `path` is relative to the repository."""

    path: str
    tree: ast.Module

    @property
    def package(self) -> str:
        """The import package it belongs to."""
        return Path(self.path).parts[1]

    @property
    def room(self) -> str:
        """The part of its package that it belongs to."""
        return Path(self.path).parts[2].removesuffix(".py")

    @property
    def is_pure(self) -> bool:
        """Whether it belongs to the parts without driver, clock and environment."""
        return self.path.startswith(PURE)


def violations(root: Path) -> list[Violation]:
    """Every broken rule below `root`, by file and line."""
    found: list[Violation] = []
    for package, folder in PACKAGES.items():
        for path in sorted((root / folder / package).rglob("*.py")):
            relative = path.relative_to(root).as_posix()
            module = Module(relative, ast.parse(path.read_text(), relative))
            found += _of_module(module)
    return sorted(set(found))


def _of_module(module: Module) -> Iterator[Violation]:
    for line, name in _imports(module):
        for what in _import_faults(module, name):
            yield Violation(module.path, line, what)
    yield from _environment_reads(module)
    yield from _imports_in_functions(module)
    if module.is_pure:
        yield from _clock_reads(module)


def _imports(module: Module) -> Iterator[tuple[int, str]]:
    """Each imported module or name, dotted in full."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = _origin(module, node)
            yield from ((node.lineno, f"{origin}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and _name(node.func) in DYNAMIC:
            for argument in node.args[:1]:
                if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                    yield node.lineno, argument.value


def _origin(module: Module, node: ast.ImportFrom) -> str:
    """The module a `from` names, a relative one resolved."""
    if node.level == 0:
        return node.module or ""
    above = Path(module.path).parts[1 : -node.level]
    return ".".join((*above, *([node.module] if node.module else [])))


def _import_faults(module: Module, name: str) -> Iterator[str]:
    if _not_allowed(module.package, name):
        yield f"{module.package} must not import {name}"
    if _climbs(module, name):
        yield f"{module.room} must not import {name}: arrows go down only"
    if not module.is_pure:
        return
    top = name.partition(".")[0]
    if top in DRIVERS:
        yield f"a pure module must not import the driver {top}"
    if top in CLOCKS:
        yield f"a pure module must not import {top}"
    if top == "os":
        yield "a pure module must not import os"


def _not_allowed(package: str, name: str) -> bool:
    other = name.partition(".")[0]
    if other not in PACKAGES or other == package:
        return False
    if package == SERVER:
        return other == AGENTS
    if package == AGENTS:
        return name != CONTRACT and not name.startswith(CONTRACT + ".")
    return True


def _climbs(module: Module, name: str) -> bool:
    """Whether a room of the server imports one that does not lie below it."""
    package, room, *_ = (*name.split("."), "")
    if package != SERVER or module.package != SERVER or module.room not in FLOOR:
        return False
    return room in FLOOR and room != module.room and FLOOR[room] >= FLOOR[module.room]


def _environment_reads(module: Module) -> Iterator[Violation]:
    if module.path == SETTINGS:
        return
    names = set(_names_of_os(module))
    for node in ast.walk(module.tree):
        name = None
        if isinstance(node, ast.Attribute) and _name(node.value) in names:
            name = node.attr
        elif isinstance(node, ast.ImportFrom) and node.module == "os":
            name = next((alias.name for alias in node.names if alias.name in ENVIRONMENT), None)
        if name in ENVIRONMENT:
            line = getattr(node, "lineno", 0)
            yield Violation(module.path, line, f"only {SETTINGS} reads the environment: os.{name}")


def _names_of_os(module: Module) -> Iterator[str]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            yield from (alias.asname or "os" for alias in node.names if alias.name == "os")


def _clock_reads(module: Module) -> Iterator[Violation]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Attribute) and node.attr in CLOCK_CALLS:
            name = _name(node.value)
            if name in ("datetime", "date"):
                what = f"a pure module must not read the clock: {name}.{node.attr}"
                yield Violation(module.path, node.lineno, what)


def _imports_in_functions(module: Module) -> Iterator[Violation]:
    for node in ast.walk(module.tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        for inner in ast.walk(node):
            if isinstance(inner, ast.Import | ast.ImportFrom):
                what = f"import inside the function {node.name}"
                yield Violation(module.path, inner.lineno, what)


def _name(node: ast.expr) -> str | None:
    """The last part of a name or attribute."""
    if isinstance(node, ast.Name):
        return node.id
    return node.attr if isinstance(node, ast.Attribute) else None


def main() -> int:
    """Prints the violations; exit code 1 when there are any."""
    found = violations(ROOT)
    for violation in found:
        sys.stdout.write(f"{violation}\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
