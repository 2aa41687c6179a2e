"""ViewDefinition → SQL for PostgreSQL 15 to 18. Pure: opens no connection, reads no clock.

definition.py   the ViewDefinition's JSON, checked
resolver.py     FHIRPath syntax → typed nodes, against the FHIR model
expr.py         what a node is: types, cardinality, SQL of values, paths, rows, conditions
nodes.py        the nodes that every expression is made of
units.py        units of quantities that convert exactly
value_sets.py   the value sets that a definition contains
operators/      functions and operators, one file a family
rows.py         selects, iterations and unions → FROM items
body.py         one SELECT: what is evaluated where; sharing.py what is evaluated once
compile.py      the whole statement: `compile_view`
explain.py      syntax and typed nodes for reading
"""

from researchflow_runners.compiler.column import HIDDEN_COLUMNS, Column
from researchflow_runners.compiler.compile import compile_view
from researchflow_runners.compiler.view import CompiledView

__all__ = ["HIDDEN_COLUMNS", "Column", "CompiledView", "compile_view"]
