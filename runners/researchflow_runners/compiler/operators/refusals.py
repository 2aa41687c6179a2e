"""Functions of FHIRPath that have no SQL here: refused by name, with what to write instead."""

from __future__ import annotations

from researchflow_runners.compiler.registry import refuse

ELEMENT = "Name the elements, such as name.given; a view has a column for each."

refuse("children", ELEMENT)
refuse("descendants", ELEMENT)
refuse("repeat", "Use the directive 'repeat' of a select, which walks its paths recursively.")
refuse("trace", "Remove it; 'researchflow view compile --stage ir' shows what an expression is.")
refuse("aggregate", "Aggregate the rows of the view, in SQL or with the tool for aggregates.")
refuse("resolve", "Select getReferenceKey(), and join the views on it.")
refuse("conformsTo", "Select by elements, such as meta.profile.")
