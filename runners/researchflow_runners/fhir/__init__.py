"""What FHIR R4 (4.0.1) says about types: elements, cardinality, choices, reference targets.

`model()` gives the one `FhirModel`; the tables behind it are in r4.json, which derive.py makes
from HL7's StructureDefinitions. `required_codes(element)` gives the codes of a required binding
(bindings.json, made by derive_bindings.py). Nothing here reads patient data, a clock or the
environment.
"""

from researchflow_runners.fhir.bindings import required_codes
from researchflow_runners.fhir.model import Element, FhirModel, model

__all__ = ["Element", "FhirModel", "model", "required_codes"]
