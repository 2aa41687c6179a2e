"""`find_codes`: words to codes; the question is the runners' own model."""

from __future__ import annotations

FIND_CODES = "find_codes"
