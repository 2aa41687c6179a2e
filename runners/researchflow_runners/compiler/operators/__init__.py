"""The operators and functions of FHIRPath, one file a family.

To add a function: write it in the file of its family with `@function("name")`, return a node that
knows its SQL, and add its test. Importing this package registers them all.
"""

from researchflow_runners.compiler.operators import (
    boundaries,
    clock,
    combining,
    conversion,
    converting,
    existence,
    extension,
    filtering,
    keys,
    mathematics,
    patterns,
    quantifiers,
    refusals,
    strings,
    terminology,
)
from researchflow_runners.compiler.operators.arithmetic import negative
from researchflow_runners.compiler.operators.binary import binary_operator
from researchflow_runners.compiler.operators.conversion import type_test
from researchflow_runners.compiler.operators.subsetting import indexed

__all__ = [
    "binary_operator",
    "boundaries",
    "clock",
    "combining",
    "conversion",
    "converting",
    "existence",
    "extension",
    "filtering",
    "indexed",
    "keys",
    "mathematics",
    "negative",
    "patterns",
    "quantifiers",
    "refusals",
    "strings",
    "terminology",
    "type_test",
]
