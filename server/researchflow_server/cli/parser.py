"""argparse with errors of one line and a hint."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from typing import Any, NoReturn

from researchflow_server.cli.outcome import USAGE


class Parser(ArgumentParser):
    """Exact option names, help with line breaks kept, usage errors in two short lines."""

    def __init__(self, **options: Any) -> None:
        options.setdefault("formatter_class", RawDescriptionHelpFormatter)
        options.setdefault("allow_abbrev", False)
        super().__init__(**options)

    def error(self, message: str) -> NoReturn:
        """Says what is wrong and where the help is; exit code 2."""
        sys.stderr.write(f"error: {message}\nhint: see `{self.prog} --help`\n")
        raise SystemExit(USAGE)


def with_example(parser: ArgumentParser, *examples: str) -> None:
    """Adds examples below the help."""
    parser.epilog = "examples:\n" + "\n".join(f"  {example}" for example in examples)
