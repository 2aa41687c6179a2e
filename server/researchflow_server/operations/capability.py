"""What this server can do, as FHIR says it: a CapabilityStatement and our OperationDefinitions.

The operations leave out parameters of the drafts' own definitions, so each has a definition of
ours that names the draft's as its base.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from researchflow_server.operations.negotiation import MEDIA_TYPES
from researchflow_server.operations.parameters import (
    SQL_RUN,
    VIEWDEFINITION_RUN,
    Operation,
    Parameter,
)

#: When what is said here last changed.
STATED_ON = "2026-11-23"
FHIR_VERSION = "4.0.1"
OPERATIONS = {operation.code: operation for operation in (SQL_RUN, VIEWDEFINITION_RUN)}


def capability_statement(base_url: str) -> dict[str, Any]:
    """The CapabilityStatement of the server at `base_url`."""
    return {
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": STATED_ON,
        "kind": "instance",
        "software": {"name": "ResearchFlow", "version": version("researchflow")},
        "implementation": {"description": "SQL on FHIR over HTTP", "url": base_url},
        "fhirVersion": FHIR_VERSION,
        "format": sorted(MEDIA_TYPES.values()),
        "rest": [
            {
                "mode": "server",
                "resource": [
                    {
                        "type": "ViewDefinition",
                        "operation": [_stated(VIEWDEFINITION_RUN, base_url)],
                    }
                ],
                "operation": [_stated(one, base_url) for one in OPERATIONS.values()],
            }
        ],
    }


def operation_definition(operation: Operation, base_url: str) -> dict[str, Any]:
    """The OperationDefinition: exactly the parameters that are taken."""
    is_typed = operation is VIEWDEFINITION_RUN
    return {
        "resourceType": "OperationDefinition",
        "id": operation.code,
        "url": f"{base_url}/OperationDefinition/{operation.code}",
        "base": operation.base,
        "name": "".join(part.capitalize() for part in operation.code.split("-")),
        "title": operation.title,
        "status": "active",
        "kind": "operation",
        "affectsState": False,
        "code": operation.code,
        "resource": ["CanonicalResource"] if is_typed else [],
        "system": True,
        "type": is_typed,
        "instance": is_typed,
        "parameter": [
            *(_parameter(one) for one in operation.parameters),
            {"name": "return", "use": "out", "min": 1, "max": "1", "type": "Binary"},
        ],
    }


def _stated(operation: Operation, base_url: str) -> dict[str, str]:
    return {
        "name": f"${operation.code}",
        "definition": f"{base_url}/OperationDefinition/{operation.code}",
    }


def _parameter(parameter: Parameter) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "use": "in",
        "min": 0,
        "max": "*" if parameter.many else "1",
        "documentation": parameter.text,
        "type": parameter.type,
    }
