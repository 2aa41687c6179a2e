"""Functions of FHIRPath that have no SQL here: refused by name, with what to write instead."""

from __future__ import annotations

from researchflow_runners.compiler.registry import refuse

ELEMENT = "Name the elements, such as name.given; a view has a column for each."

refuse("children", ELEMENT)
refuse("descendants", ELEMENT)
refuse("repeat", "Use the directive 'repeat' of a select, which walks its paths recursively.")
refuse("aggregate", "Aggregate the rows of the view, in SQL or with the tool for aggregates.")
refuse("resolve", "Select getReferenceKey(), and join the views on it.")
refuse("defineVariable", "Write the expression where it is used, or as a constant of the view.")
