"""The R4 tables say what the FHIR R4 specification says."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree

import pytest

from researchflow_runners.fhir import model
from researchflow_runners.fhir.derive import derive, dump
from researchflow_runners.fhir.model import parse_element

ELEMENTS = [
    # type, element, types, many
    ("Patient", "id", ("id",), False),
    ("Patient", "meta", ("Meta",), False),
    ("Patient", "contained", ("Resource",), True),
    ("Patient", "extension", ("Extension",), True),
    ("Patient", "name", ("HumanName",), True),
    ("Patient", "gender", ("code",), False),
    ("Patient", "birthDate", ("date",), False),
    ("Patient", "deceased", ("boolean", "dateTime"), False),
    ("Patient", "contact", ("Patient.contact",), True),
    ("Patient.contact", "name", ("HumanName",), False),
    ("Patient.contact", "modifierExtension", ("Extension",), True),
    ("HumanName", "given", ("string",), True),
    ("HumanName", "family", ("string",), False),
    ("HumanName", "id", ("string",), False),
    ("Address", "line", ("string",), True),
    ("CodeableConcept", "coding", ("Coding",), True),
    ("CodeableConcept", "text", ("string",), False),
    ("Condition", "clinicalStatus", ("CodeableConcept",), False),
    ("Condition", "category", ("CodeableConcept",), True),
    ("Observation", "category", ("CodeableConcept",), True),
    ("Observation", "component", ("Observation.component",), True),
    ("Observation", "referenceRange", ("Observation.referenceRange",), True),
    ("Observation.component", "referenceRange", ("Observation.referenceRange",), True),
    ("Observation.referenceRange", "low", ("Quantity",), False),
    ("Quantity", "value", ("decimal",), False),
    ("Age", "unit", ("string",), False),
    ("Meta", "lastUpdated", ("instant",), False),
    ("Encounter", "class", ("Coding",), False),
    ("MedicationRequest", "dosageInstruction", ("Dosage",), True),
    ("Dosage", "doseAndRate", ("Dosage.doseAndRate",), True),
    ("Dosage", "timing", ("Timing",), False),
    ("Timing", "repeat", ("Timing.repeat",), False),
    ("Questionnaire.item", "item", ("Questionnaire.item",), True),
    ("QuestionnaireResponse.item.answer", "item", ("QuestionnaireResponse.item",), True),
    ("Bundle.entry", "resource", ("Resource",), False),
    ("Bundle.entry", "link", ("Bundle.link",), True),
    ("Extension", "url", ("uri",), False),
    ("code", "extension", ("Extension",), True),
]


@pytest.mark.parametrize(("type_name", "element_name", "types", "many"), ELEMENTS)
def test_element_has_the_types_and_cardinality_of_r4(
    type_name: str, element_name: str, types: tuple[str, ...], many: bool
) -> None:
    element = model().element(type_name, element_name)
    assert element is not None
    assert (element.name, element.types, element.many) == (element_name, types, many)


def test_choice_lists_one_json_key_per_type() -> None:
    deceased = model().element("Patient", "deceased")
    assert deceased is not None
    assert deceased.choice
    assert deceased.json_keys == (
        ("deceasedBoolean", "boolean"),
        ("deceasedDateTime", "dateTime"),
    )
    value = model().element("Observation", "value")
    assert value is not None
    assert ("valueCodeableConcept", "CodeableConcept") in value.json_keys
    assert len(value.json_keys) == 11


def test_plain_element_has_its_own_name_as_json_key() -> None:
    gender = model().element("Patient", "gender")
    assert gender is not None
    assert (gender.choice, gender.json_keys) == (False, (("gender", "code"),))


@pytest.mark.parametrize(
    ("type_name", "element_name"),
    [
        ("Patient", "deceasedBoolean"),
        ("Patient", "value[x]"),
        ("Patient", "nonsense"),
        ("Procedure", "recorded"),
        ("Bundle", "extension"),
        ("Nonsense", "id"),
        ("Binary", "url"),
        ("Patient", ""),
    ],
)
def test_what_r4_does_not_define_is_none(type_name: str, element_name: str) -> None:
    assert model().element(type_name, element_name) is None


def test_reference_names_its_targets_and_an_open_one_names_none() -> None:
    subject = model().element("Observation", "subject")
    focus = model().element("Observation", "focus")
    assert subject is not None
    assert focus is not None
    assert subject.targets == ("Device", "Group", "Location", "Patient")
    assert (focus.types, focus.targets) == (("Reference",), ())


def test_kinds_are_told_apart() -> None:
    fhir = model()
    assert fhir.version == "4.0.1"
    assert fhir.is_resource("Patient")
    assert fhir.is_resource("DomainResource")
    assert not fhir.is_resource("HumanName")
    assert fhir.is_primitive("code")
    assert not fhir.is_primitive("Coding")
    assert fhir.is_type("Patient.contact")
    assert not fhir.is_type("patient")
    assert fhir.is_abstract("Resource")
    assert not fhir.is_abstract("Bundle")


def test_inheritance_is_followed_to_the_root() -> None:
    fhir = model()
    assert fhir.is_subtype("Patient", "DomainResource")
    assert fhir.is_subtype("Patient", "Resource")
    assert fhir.is_subtype("Bundle", "Resource")
    assert not fhir.is_subtype("Bundle", "DomainResource")
    assert fhir.is_subtype("Age", "Quantity")
    assert fhir.is_subtype("code", "string")
    assert fhir.is_subtype("canonical", "uri")
    assert not fhir.is_subtype("string", "code")
    assert not fhir.is_subtype("Nonsense", "Nonsense")
    assert fhir.base("Resource") is None


def test_elements_list_inherited_ones_first_and_none_twice() -> None:
    names = [element.name for element in model().elements("Patient")]
    assert names[:9] == [
        "id",
        "meta",
        "implicitRules",
        "language",
        "text",
        "contained",
        "extension",
        "modifierExtension",
        "identifier",
    ]
    assert len(names) == len(set(names))


def test_unknown_concrete_type_offers_every_possible_element() -> None:
    possible = dict(model().possible_elements("Resource", "status"))
    assert possible["Observation"].types == ("code",)
    assert "Patient" not in possible
    assert model().possible_elements("Resource", "nonsense") == ()


def test_resource_names_are_the_146_concrete_types_of_r4() -> None:
    names = model().resource_names()
    assert len(names) == 146
    assert names == tuple(sorted(names))
    assert not {"Resource", "DomainResource", "SubscriptionStatus", "Element"} & set(names)


def test_every_type_that_an_element_names_is_defined() -> None:
    fhir = model()
    unresolved = [
        (type_name, element.name, named)
        for type_name in fhir.type_names()
        for element in fhir.elements(type_name)
        for named in (*element.types, *element.targets)
        if not fhir.is_type(named)
    ]
    assert unresolved == []


def test_only_choices_have_several_types() -> None:
    fhir = model()
    mixed = [
        (type_name, element.name)
        for type_name in fhir.type_names()
        for element in fhir.elements(type_name)
        if len(element.types) != 1 and not element.choice
    ]
    assert mixed == []


def test_model_is_read_once() -> None:
    assert model() is model()


def test_notation_reads_references_and_lists() -> None:
    element = parse_element("used[x]", "string|Reference(Group|Patient)*")
    assert element.many
    assert element.targets == ("Group", "Patient")
    assert element.json_keys == (("usedString", "string"), ("usedReference", "Reference"))


DEFINITION = """
<Bundle xmlns="http://hl7.org/fhir"><entry><resource><StructureDefinition>
  <fhirVersion value="4.0.1"/><kind value="resource"/><abstract value="false"/>
  <type value="Thing"/><derivation value="specialization"/>
  <baseDefinition value="http://hl7.org/fhir/StructureDefinition/DomainResource"/>
  <snapshot>
    <element><path value="Thing"/><max value="*"/></element>
    <element><path value="Thing.id"/><max value="1"/><base><path value="Resource.id"/></base>
      <type><code value="http://hl7.org/fhirpath/System.String"/></type></element>
    <element><path value="Thing.part"/><max value="*"/><base><path value="Thing.part"/></base>
      <type><code value="BackboneElement"/></type></element>
    <element><path value="Thing.part.part"/><max value="*"/>
      <base><path value="Thing.part.part"/></base><contentReference value="#Thing.part"/></element>
    <element><path value="Thing.part.of"/><max value="1"/>
      <base><path value="Thing.part.of"/></base>
      <type><code value="Reference"/>
        <targetProfile value="http://hl7.org/fhir/StructureDefinition/Patient"/></type></element>
  </snapshot>
</StructureDefinition></resource></entry></Bundle>
"""


def test_derivation_keeps_own_elements_and_names_nested_types_by_path() -> None:
    table = derive([ElementTree.fromstring(DEFINITION)])
    assert table["resources"] == {"Thing": {"": "DomainResource", "part": "Thing.part*"}}
    assert table["nested"] == {
        "Thing.part": {
            "": "BackboneElement",
            "part": "Thing.part*",
            "of": "Reference(Patient)",
        }
    }
    assert json.loads(dump(table)) == table


def test_profiles_and_other_versions_are_left_out() -> None:
    profile = DEFINITION.replace('value="specialization"', 'value="constraint"')
    later = DEFINITION.replace('value="4.0.1"', 'value="4.3.0"')
    table = derive([ElementTree.fromstring(text) for text in (profile, later)])
    assert table["resources"] == {}
