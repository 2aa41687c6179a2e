"""The operators and functions of FHIRPath, one file a family.

To add one: write a file here, or into the file of its family, with `@function("name")` or
`@binary("symbol")` above a Python function that gives a node; the node knows its SQL. Importing
this package registers all that its files define. Its test is a JSON object in tests/cases/, in the
official format, and a line in tests/oracle/ makes the property tests judge it.
"""

from importlib import import_module
from pkgutil import iter_modules

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")
