"""What a code looks like, so that it is never read as words."""

from __future__ import annotations

import re

#: In the order: digits alone (SNOMED CT, RxNorm, CVX, CPT), LOINC, NDC and other numbers with
#: hyphens, ICD-9, ICD-10 with and without its point, ATC, HCPCS.
_FORMS = (
    r"\d+",
    r"\d{1,7}-\d",
    r"\d{3,6}-\d{2,4}(-\d{1,2})?",
    r"[ev]?\d{2,3}\.\d{1,2}",
    r"[a-z]\d[\da-z](\.[\da-z]{1,4})?",
    r"[a-z]\d{3,6}[a-z]?",
    r"[a-z]\d{2}[a-z]{1,2}(\d{2})?",
)
_CODE = re.compile("|".join(f"(?:{form})" for form in _FORMS), re.ASCII)


def has_code_form(text: str) -> bool:
    """Whether a text looks like one code of a system that is known here."""
    return _CODE.fullmatch(text.lower()) is not None
