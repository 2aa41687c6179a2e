"""FHIRPath as text: lexer → parser → syntax tree → printer.

Knows the grammar of FHIRPath 2.0 and no types, functions or data; what a name means is decided by
the compiler. `parse(print_expression(tree))` gives the tree again.
"""

from researchflow_runners.fhirpath.ast import Node
from researchflow_runners.fhirpath.parser import parse
from researchflow_runners.fhirpath.printer import print_expression

__all__ = ["Node", "parse", "print_expression"]
