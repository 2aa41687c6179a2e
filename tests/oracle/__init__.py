"""A slow, obvious second opinion on FHIRPath and ViewDefinitions, for tests only.

It walks the JSON one item at a time and shares no code with the product's parser or compiler.
From the product it takes only the R4 type tables, to know the type of a value; cardinalities it
takes from the data alone.
"""

from oracle.parse import OracleError
from oracle.view import rows

__all__ = ["OracleError", "rows"]
