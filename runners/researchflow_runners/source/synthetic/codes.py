"""The hospital's clinical vocabulary, and which treatment belongs to which problem."""

from __future__ import annotations

from typing import Any, NamedTuple

ICD10 = "http://hl7.org/fhir/sid/icd-10-cm"
SNOMED = "http://snomed.info/sct"
LOINC = "http://loinc.org"
RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"
CPT = "http://www.ama-assn.org/go/cpt"
CVX = "http://hl7.org/fhir/sid/cvx"
UCUM = "http://unitsofmeasure.org"
TERMINOLOGY = "http://terminology.hl7.org/CodeSystem/"


class Problem(NamedTuple):
    """A diagnosis; `medications` and `procedures` are keys of the tables below."""

    icd10: str
    snomed: str
    text: str
    medications: tuple[str, ...] = ()
    procedures: tuple[str, ...] = ()
    chance: float = 0.0
    age_min: int = 30


class Medication(NamedTuple):
    """A drug; the dose is `quantity` `unit`, `per_day` times a day."""

    rxnorm: str
    text: str
    quantity: float
    unit: str
    per_day: int
    route: tuple[str, str] = ("26643006", "Oral route")


class Procedure(NamedTuple):
    """A procedure with both of its codes."""

    cpt: str
    snomed: str
    text: str
    body_site: tuple[str, str] | None = None
    is_surgical: bool = False


class CarePlan(NamedTuple):
    """A plan for a problem, and what it asks of the patient."""

    snomed: str
    text: str
    activities: tuple[tuple[str, str], ...]


class Measure(NamedTuple):
    """A quantity; `usual` and `ill` are ranges to draw from, `normal` the reference range."""

    loinc: str
    text: str
    unit: str
    usual: tuple[float, float]
    normal: tuple[float | None, float | None]
    digits: int = 1
    ill: tuple[float, float] | None = None
    problem: str | None = None


CHRONIC = {
    "diabetes": Problem(
        "E11.9", "44054006", "Type 2 diabetes mellitus",
        ("metformin", "glargine"), ("fundus",), 0.46,
    ),
    "hypertension": Problem(
        "I10", "59621000", "Essential hypertension", ("lisinopril", "amlodipine"), ("ecg",), 0.52,
    ),
    "hyperlipidemia": Problem("E78.5", "55822004", "Hyperlipidemia", ("atorvastatin",), (), 0.3),
    "kidney": Problem(
        "N18.30", "433144002", "Chronic kidney disease stage 3", (), ("dialysis",), 0.22, 45,
    ),
    "asthma": Problem("J45.909", "195967001", "Asthma", ("albuterol",), ("spirometry",), 0.14, 6),
    "coronary": Problem(
        "I25.10", "53741008", "Coronary artery disease", ("atorvastatin",), ("catheter",), 0.2, 50,
    ),
    "fibrillation": Problem(
        "I48.91", "49436004", "Atrial fibrillation", ("apixaban",), ("ecg",), 0.18, 55,
    ),
    "depression": Problem(
        "F32.A", "35489007", "Depressive disorder", ("sertraline",), (), 0.16, 16,
    ),
    "arthritis": Problem(
        "M19.90", "396275006", "Osteoarthritis", ("acetaminophen",), ("knee",), 0.3, 50,
    ),
    "reflux": Problem(
        "K21.9", "235595009", "Gastro-esophageal reflux disease", ("omeprazole",), (), 0.15, 25,
    ),
}  # fmt: skip

ACUTE = {
    "sinusitis": Problem("J01.90", "36971009", "Sinusitis", ("amoxicillin",), (), 1, 0),
    "bronchitis": Problem("J20.9", "10509002", "Acute bronchitis", (), ("xray",), 1, 0),
    "pharyngitis": Problem("J02.9", "363746003", "Acute pharyngitis", ("amoxicillin",), (), 1, 0),
    "cystitis": Problem("N39.0", "68566005", "Urinary tract infection", ("amoxicillin",), (), 1, 0),
    "sprain": Problem("S93.409A", "44465007", "Sprain of ankle", ("acetaminophen",), (), 1, 0),
    "influenza": Problem("J11.1", "6142004", "Influenza", ("acetaminophen",), (), 1, 0),
    "laceration": Problem("S61.419A", "283396008", "Laceration of hand", (), ("suture",), 1, 0),
}

#: By the problem they are made for.
CARE_PLANS = {
    "diabetes": CarePlan(
        "698360004", "Diabetes self management plan",
        (("160670007", "Diabetic diet"), ("229065009", "Exercise therapy")),
    ),
    "asthma": CarePlan(
        "698359009", "Asthma self-management plan",
        (("720006006", "Self management of asthma education"),),
    ),
    "depression": CarePlan(
        "736254007", "Depression care plan", (("228557008", "Cognitive and behavioral therapy"),),
    ),
    "sprain": CarePlan(
        "91251008", "Physical therapy procedure",
        (("229586001", "Rest, ice, compression and elevation"), ("229070002", "Stretching")),
    ),
}  # fmt: skip
#: What US Core asks of a care plan beside its own kind.
ASSESS_PLAN = (
    "http://hl7.org/fhir/us/core/CodeSystem/careplan-category", "assess-plan",
    "Assessment and Plan of Treatment",
)  # fmt: skip

MEDICATIONS = {
    "metformin": Medication("861007", "metformin hydrochloride 500 MG Oral Tablet", 1, "TAB", 2),
    "glargine": Medication(
        "311041", "insulin glargine 100 UNT/ML Injectable Solution", 18.5, "U", 1,
        ("34206005", "Subcutaneous route"),
    ),
    "lisinopril": Medication("314076", "lisinopril 10 MG Oral Tablet", 1, "TAB", 1),
    "amlodipine": Medication("197361", "amlodipine 5 MG Oral Tablet", 1, "TAB", 1),
    "atorvastatin": Medication("617310", "atorvastatin 20 MG Oral Tablet", 1, "TAB", 1),
    "albuterol": Medication(
        "745679", "albuterol 0.09 MG/ACTUAT Metered Dose Inhaler", 2, "PUFF", 4,
        ("447694001", "Respiratory tract route"),
    ),
    "apixaban": Medication("1364445", "apixaban 5 MG Oral Tablet", 1, "TAB", 2),
    "sertraline": Medication("312941", "sertraline 50 MG Oral Tablet", 1, "TAB", 1),
    "acetaminophen": Medication("313782", "acetaminophen 325 MG Oral Tablet", 2, "TAB", 3),
    "omeprazole": Medication(
        "198051", "omeprazole 20 MG Delayed Release Oral Capsule", 1, "CAP", 1,
    ),
    "amoxicillin": Medication("308191", "amoxicillin 500 MG Oral Capsule", 1, "CAP", 3),
}  # fmt: skip

PROCEDURES = {
    "ecg": Procedure("93000", "29303009", "Electrocardiographic procedure"),
    "fundus": Procedure(
        "92250", "314972008", "Indirect fundoscopy following mydriatic",
        ("81745001", "Structure of eye proper"),
    ),
    "dialysis": Procedure("90935", "302497006", "Hemodialysis"),
    "spirometry": Procedure("94010", "127783003", "Spirometry"),
    "catheter": Procedure(
        "93458", "41976001", "Cardiac catheterization", ("80891009", "Heart structure"), True,
    ),
    "knee": Procedure(
        "27447", "609588000", "Total knee replacement", ("72696002", "Knee region structure"), True,
    ),
    "xray": Procedure(
        "71046", "399208008", "Plain chest X-ray", ("51185008", "Thoracic structure"),
    ),
    "suture": Procedure(
        "12001", "288086009", "Suture of open wound", ("85562004", "Hand structure"), True,
    ),
    "colonoscopy": Procedure(
        "45378", "73761001", "Colonoscopy", ("71854001", "Colon structure"),
    ),
}  # fmt: skip

LABS = (
    Measure("4548-4", "Hemoglobin A1c/Hemoglobin.total in Blood", "%",
            (4.7, 5.6), (4.0, 5.6), 1, (6.6, 10.4), "diabetes"),
    Measure("2345-7", "Glucose [Mass/volume] in Serum or Plasma", "mg/dL",
            (72, 104), (70, 99), 0, (118, 246), "diabetes"),
    Measure("2160-0", "Creatinine [Mass/volume] in Serum or Plasma", "mg/dL",
            (0.6, 1.2), (0.6, 1.3), 2, (1.5, 3.4), "kidney"),
    Measure("33914-3", "Glomerular filtration rate/1.73 sq M.predicted", "mL/min/{1.73_m2}",
            (75, 112), (60, None), 0, (31, 58), "kidney"),
    Measure("13457-7", "Cholesterol in LDL [Mass/volume] in Serum or Plasma", "mg/dL",
            (70, 128), (None, 130), 0, (131, 192), "hyperlipidemia"),
    Measure("718-7", "Hemoglobin [Mass/volume] in Blood", "g/dL", (12.2, 16.4), (12.0, 17.5)),
)  # fmt: skip

VITALS = (
    Measure("29463-7", "Body weight", "kg", (52, 98), (None, None), 1, (78, 124), "diabetes"),
    Measure("8867-4", "Heart rate", "/min", (58, 92), (60, 100), 0, (88, 128), "fibrillation"),
    Measure("8310-5", "Body temperature", "Cel", (36.2, 37.4), (36.1, 37.2)),
)
SYSTOLIC = Measure("8480-6", "Systolic blood pressure", "mm[Hg]",
                   (104, 132), (None, 130), 0, (136, 178), "hypertension")  # fmt: skip
DIASTOLIC = Measure("8462-4", "Diastolic blood pressure", "mm[Hg]",
                    (62, 84), (None, 85), 0, (86, 108), "hypertension")  # fmt: skip
PRESSURE = ("85354-9", "Blood pressure panel with all children optional")

VACCINES = (("140", "Influenza, seasonal, injectable, preservative free"), ("113", "Td (adult)"),
            ("33", "Pneumococcal polysaccharide PPV23"))  # fmt: skip
ALLERGENS = (("91936005", "Allergy to penicillin", "medication"),
             ("91935009", "Allergy to peanut", "food"),
             ("232350006", "Allergy to dust mite protein", "environment"))  # fmt: skip


def coding(system: str, code: str, display: str) -> dict[str, Any]:
    """A FHIR Coding."""
    return {"system": system, "code": code, "display": display}


def concept(text: str, *codings: dict[str, Any]) -> dict[str, Any]:
    """A FHIR CodeableConcept."""
    return {"coding": list(codings), "text": text} if codings else {"text": text}


def coded(system: str, code: str) -> dict[str, Any]:
    """A CodeableConcept of one code of an HL7 terminology system."""
    return {"coding": [{"system": TERMINOLOGY + system, "code": code}]}


def quantity(value: float, unit: str) -> dict[str, Any]:
    """A FHIR Quantity in UCUM."""
    return {"value": value, "unit": unit, "system": UCUM, "code": unit}
