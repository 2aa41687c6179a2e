"""What may be asked of codes."""

from __future__ import annotations

from pydantic import Field

from researchflow_runners.codes.codeform import has_code_form
from researchflow_runners.codes.words import words_of
from researchflow_runners.errors import QueryError
from researchflow_runners.query.strict import Strict

TEXT_CHARS_MAX = 200
LIMIT_DEFAULT = 20
LIMIT_MAX = 100

#: What people call code systems; a name may stand for several.
SYSTEMS: dict[str, tuple[str, ...]] = {
    "snomed": ("http://snomed.info/sct",),
    "sct": ("http://snomed.info/sct",),
    "snomedct": ("http://snomed.info/sct",),
    "loinc": ("http://loinc.org",),
    "rxnorm": ("http://www.nlm.nih.gov/research/umls/rxnorm",),
    "icd10": ("http://hl7.org/fhir/sid/icd-10-cm", "http://hl7.org/fhir/sid/icd-10"),
    "icd10cm": ("http://hl7.org/fhir/sid/icd-10-cm",),
    "icd9": ("http://hl7.org/fhir/sid/icd-9-cm", "http://hl7.org/fhir/sid/icd-9"),
    "cpt": ("http://www.ama-assn.org/go/cpt",),
    "cvx": ("http://hl7.org/fhir/sid/cvx",),
    "ndc": ("http://hl7.org/fhir/sid/ndc",),
    "atc": ("http://www.whocc.no/atc",),
    "ucum": ("http://unitsofmeasure.org",),
}


class CodeQuery(Strict):
    """Words or a code, to be looked for among the codes that occur."""

    text: str = Field(description="Words or a code")
    view: str | None = None
    system: str | None = Field(default=None, description="URL or loinc, snomed, icd10")
    limit: int = Field(default=LIMIT_DEFAULT, ge=1, le=LIMIT_MAX)


def systems_of(name: str) -> tuple[str, ...]:
    """The systems that a name or URL stands for."""
    return SYSTEMS.get("".join(words_of(name)), (name,))


def coded_text(query: CodeQuery) -> tuple[str, tuple[str, ...]]:
    """The text without a system in front of it, and the systems that are asked for, if any.

    `http://loinc.org|4548-4`, `LOINC:4548-4` and `LOINC 4548-4` name the system of a code.
    QueryError `text_empty` or `text_too_long`.
    """
    text = query.text.strip()
    if len(text) > TEXT_CHARS_MAX:
        raise QueryError(
            f"the text to find has {len(text):,} characters",
            code="text_too_long",
            field="text",
            hint=f"give the few words of a display, {TEXT_CHARS_MAX} characters at most",
        )
    if not words_of(text):
        raise QueryError(
            "the text to find has no word and no code",
            code="text_empty",
            field="text",
            hint='give words, an abbreviation or a code: "high blood pressure", "HTN", "I10"',
        )
    systems = systems_of(query.system) if query.system else ()
    named, bar, code = text.rpartition("|")
    if not bar:
        named, bar, code = text.partition(":")
        if not bar:
            named, bar, code = text.rpartition(" ")
            bar = bar if has_code_form(code) else ""
        if not bar or "".join(words_of(named)) not in SYSTEMS:
            return text, systems
    return (code.strip(), systems or systems_of(named)) if words_of(code) else (text, systems)
