"""The constants of a ViewDefinition as typed nodes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from decimal import Decimal

from researchflow_runners.compiler.definition import ConstantDefinition
from researchflow_runners.compiler.nodes import Constant
from researchflow_runners.compiler.types import RANGES
from researchflow_runners.errors import ViewDefinitionError
from researchflow_runners.fhirpath.calendar import exists

#: Key in the definition → FHIR type and what its JSON must be.
VALUE_TYPES: dict[str, tuple[str, type | tuple[type, ...]]] = {
    "valueBase64Binary": ("base64Binary", str),
    "valueBoolean": ("boolean", bool),
    "valueCanonical": ("canonical", str),
    "valueCode": ("code", str),
    "valueDate": ("date", str),
    "valueDateTime": ("dateTime", str),
    "valueDecimal": ("decimal", (int, float, Decimal)),
    "valueId": ("id", str),
    "valueInstant": ("instant", str),
    "valueInteger": ("integer", int),
    "valueInteger64": ("integer64", (int, str)),
    "valueOid": ("oid", str),
    "valueString": ("string", str),
    "valuePositiveInt": ("positiveInt", int),
    "valueTime": ("time", str),
    "valueUnsignedInt": ("unsignedInt", int),
    "valueUri": ("uri", str),
    "valueUrl": ("url", str),
    "valueUuid": ("uuid", str),
}
LEXICAL = {
    "date": r"\d{4}(-\d\d(-\d\d)?)?",
    "dateTime": r"\d{4}(-\d\d(-\d\d(T\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d))?)?)?",
    "instant": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)",
    "time": r"\d\d:\d\d(:\d\d(\.\d+)?)?",
    "integer64": r"-?\d{1,19}",
}
#: What stands behind `%` and is no constant.
RESERVED_NAMES = frozenset({"rowIndex", "resource", "context", "rootResource"})


def parse_constants(definitions: Sequence[ConstantDefinition]) -> dict[str, Constant]:
    """Each constant by its name.

    Raises ViewDefinitionError `invalid_constant` or `duplicate_constant`.
    """
    found: dict[str, Constant] = {}
    for number, definition in enumerate(definitions):
        field = f"constant[{number}]"
        if definition.name in found or definition.name in RESERVED_NAMES:
            raise ViewDefinitionError(
                f"the constant '{definition.name}' is defined twice or reserved",
                code="duplicate_constant",
                field=field,
                hint="Give every constant its own name.",
            )
        found[definition.name] = _constant(definition, field)
    return found


def _constant(definition: ConstantDefinition, field: str) -> Constant:
    # Beside its value JSON keeps the id and extensions of a primitive, as `_valueCode`.
    extra = {
        key: value
        for key, value in (definition.model_extra or {}).items()
        if not (key.startswith("_") and key[1:] in VALUE_TYPES)
    }
    if len(extra) != 1 or next(iter(extra)) not in VALUE_TYPES:
        raise _invalid(definition, field, "needs exactly one value[x]", VALUE_TYPES)
    key, value = next(iter(extra.items()))
    fhir_type, wanted = VALUE_TYPES[key]
    fits = isinstance(value, wanted) and (fhir_type == "boolean") == isinstance(value, bool)
    text = str(value).lower() if isinstance(value, bool) else str(value)
    if fits and fhir_type == "dateTime" and _is_written_as(fhir_type, f"{text}Z"):
        raise _invalid(definition, f"{field}.{key}", "is a time without its offset", ())
    if not fits or not _is_written_as(fhir_type, text):
        raise _invalid(definition, f"{field}.{key}", f"is not of type {fhir_type}", ())
    return Constant(fhir_type, text)


def _is_written_as(fhir_type: str, text: str) -> bool:
    """Whether the text is one that the type allows."""
    pattern = LEXICAL.get(fhir_type)
    if pattern is not None and not re.fullmatch(pattern, text):
        return False
    if fhir_type in ("date", "dateTime", "instant", "time"):
        return exists(fhir_type, text)
    least, most = RANGES.get(fhir_type, (None, None))
    return least is None or most is None or least <= int(text) <= most


def _invalid(
    definition: ConstantDefinition, field: str, why: str, allowed: Iterable[str]
) -> ViewDefinitionError:
    return ViewDefinitionError(
        f"the constant '{definition.name}' {why}",
        code="invalid_constant",
        field=field,
        allowed=list(allowed),
        hint="Write one value such as valueString or valueInteger, of its own JSON type.",
    )
