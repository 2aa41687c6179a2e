"""Golden pairs: goldens/<name>.json has a view, resources and the rows that they give, and
goldens/<name>.sql the SQL that the view compiles to, laid out for reading.

`python tests/golden.py` writes the .sql files anew; their changes are for review.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from researchflow_runners.compiler import compile_view
from researchflow_runners.conformance import Case, Suite
from researchflow_runners.sql import fixed

FOLDER = Path(__file__).parent / "goldens"
TOKEN = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|[()\[\],]|[^\s'"()\[\],]+|\s+""")
#: Words that begin a line.
BREAKS = frozenset({"SELECT", "FROM", "WHERE", "CROSS", "LEFT", "UNION", "OFFSET", "ORDER"})
#: Where a line that is longer than LINE_MAX goes on in another one.
FOLDS = re.compile(r" (?=WHEN |ELSE )")
LINE_MAX = 120
OPENING, CLOSING = "([", ")]"


@dataclass(frozen=True)
class Golden:
    """One pair; the suite has one case."""

    name: str
    suite: Suite

    @property
    def case(self) -> Case:
        (found,) = self.suite.cases
        assert isinstance(found, Case)
        return found

    @property
    def file(self) -> Path:
        return FOLDER / f"{self.name}.sql"


def goldens() -> Iterator[Golden]:
    """Every pair, by name."""
    for path in sorted(FOLDER.glob("*.json")):
        document = path.read_text()
        found = json.loads(document)
        case = Case(title=found["title"], view=found["view"], expect=found["expect"])
        yield Golden(path.stem, Suite(file=path.name, document=document, cases=(case,)))


def sql_of(definition: Mapping[str, Any]) -> str:
    """The view's SQL over a relation `resources`, its parameters listed below it."""
    text, values = compile_view(definition).select(fixed("resources")).render()
    parameters = [f"-- ${number} = {value!r}" for number, value in enumerate(values, start=1)]
    return "\n".join([laid_out(text), *parameters]) + "\n"


def laid_out(text: str) -> str:
    """The statement in lines: a line for each clause, queries within it indented."""
    lines = [""]
    # For each open bracket, whether it holds a query.
    open_brackets: list[bool] = []
    tokens = [token for token in TOKEN.findall(text) if not token.isspace()]
    spaced = _spaces(text)
    for number, token in enumerate(tokens):
        queries = sum(open_brackets)
        within = not open_brackets or open_brackets[-1]
        if token in CLOSING and open_brackets.pop():
            lines.append("  " * (queries - 1) + token)
        elif token in BREAKS and within and lines != [""]:
            lines.append("  " * queries + token)
        else:
            lines[-1] += (" " if spaced[number] and not lines[-1].isspace() else "") + token
        if token in OPENING:
            # `(SELECT)`, one row without columns, stays in its line.
            opens_query = tokens[number + 1] in ("SELECT", "WITH") and tokens[number + 2] != ")"
            open_brackets.append(opens_query)
            if tokens[number + 1] == "WITH":
                lines.append("  " * (queries + 1))
        if token == "," and within and open_brackets:
            lines.append("  " * (queries + 1))
        elif token == "," and within:
            lines.append("  ")
    return "\n".join(_folded(line.rstrip()) for line in lines if line.strip())


def _folded(line: str) -> str:
    indent = " " * (len(line) - len(line.lstrip()) + 4)
    return FOLDS.sub("\n" + indent, line) if len(line) > LINE_MAX else line


def _spaces(text: str) -> list[bool]:
    """For each token, whether white space stands before it."""
    found, space = [], False
    for token in TOKEN.findall(text):
        if token.isspace():
            space = True
        else:
            found.append(space)
            space = False
    return found


def main() -> None:
    for golden in goldens():
        golden.file.write_text(sql_of(golden.case.view))


if __name__ == "__main__":
    main()
