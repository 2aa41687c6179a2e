SELECT patient_id, coalesce(onset_datetime, onset_period_start, recorded_date) AS date,
       'condition' AS kind, coalesce(snomed_code, icd10_code) AS code,
       CASE WHEN snomed_code IS NOT NULL THEN 'http://snomed.info/sct'
            WHEN icd10_code IS NOT NULL THEN 'http://hl7.org/fhir/sid/icd-10-cm' END AS system,
       coalesce(CASE WHEN snomed_code IS NOT NULL THEN snomed_display ELSE icd10_display END,
                code_text) AS display,
       NULL::text AS value, NULL::text AS unit, clinical_status AS status,
       'condition_diagnoses' AS view, id
FROM condition_diagnoses
UNION ALL
-- Of those that condition_diagnoses leaves out there is a row for each coding: SNOMED CT first.
SELECT patient_id, date, 'condition', code, system, display, NULL, NULL, status,
       'condition_codes', id
FROM (SELECT DISTINCT ON (patient_id, id) patient_id,
             coalesce(onset_datetime, recorded_date) AS date, code, system, display,
             clinical_status AS status, id
      FROM condition_codes
      WHERE clinical_status = 'inactive'
        AND verification_status IS DISTINCT FROM 'entered-in-error'
      ORDER BY patient_id, id, (system = 'http://snomed.info/sct') DESC NULLS LAST, system, code,
               display) AS inactive
UNION ALL
SELECT patient_id, authored_on, 'medication', medication_code,
       CASE WHEN medication_code ~ '^[0-9]+$' THEN 'http://www.nlm.nih.gov/research/umls/rxnorm' END,
       coalesce(medication_display, medication_text),
       coalesce(dose_quantity::text, dosage_text),
       CASE WHEN dose_quantity IS NOT NULL THEN dose_unit END, status, 'medication_requests', id
FROM medication_requests
UNION ALL
SELECT patient_id, coalesce(effective_datetime, effective_period_start, issued), 'lab', code,
       CASE WHEN code ~ '^[0-9]{1,5}-[0-9]$' THEN 'http://loinc.org' END, coalesce(code_display, code_text),
       coalesce(value_quantity::text, value_string, value_code), value_unit, status,
       'observation_labs', id
FROM observation_labs
UNION ALL
SELECT patient_id, coalesce(effective_datetime, effective_period_start, issued), 'vital_sign',
       code, CASE WHEN code ~ '^[0-9]{1,5}-[0-9]$' THEN 'http://loinc.org' END,
       coalesce(code_display, code_text),
       coalesce(value_quantity::text, systolic::text || '/' || diastolic::text, systolic::text,
                diastolic::text, value_string, value_code),
       value_unit, status, 'vital_signs', id
FROM vital_signs
UNION ALL
-- A procedure has a row for each performer.
SELECT DISTINCT patient_id, coalesce(performed_datetime, performed_period_start), 'procedure',
       coalesce(snomed_code, cpt_code),
       CASE WHEN snomed_code IS NOT NULL THEN 'http://snomed.info/sct'
            WHEN cpt_code IS NOT NULL THEN 'http://www.ama-assn.org/go/cpt' END,
       coalesce(CASE WHEN snomed_code IS NOT NULL THEN snomed_display ELSE cpt_display END,
                code_text),
       outcome_text, NULL, status, 'procedure_history', id
FROM procedure_history
UNION ALL
SELECT patient_id, period_start, 'encounter', type_code,
       CASE WHEN type_code ~ '^[0-9]{6,18}$' THEN 'http://snomed.info/sct' END,
       coalesce(type_display, type_text), class_code, NULL, status, 'encounters', id
FROM encounters
UNION ALL
SELECT patient_id, occurrence_datetime, 'immunization', vaccine_code,
       CASE WHEN vaccine_code ~ '^[0-9]{1,3}$' THEN 'http://hl7.org/fhir/sid/cvx' END,
       coalesce(vaccine_display, vaccine_text), coalesce(dose_quantity::text, occurrence_text),
       CASE WHEN dose_quantity IS NOT NULL THEN dose_unit END, status, 'immunizations', id
FROM immunizations
UNION ALL
SELECT patient_id, coalesce(onset_datetime, recorded_date), 'allergy', code, code_system,
       coalesce(code_display, code_text), criticality, NULL, clinical_status, 'allergies', id
FROM allergies
UNION ALL
SELECT patient_id, coalesce(effective_datetime, effective_period_start, issued), 'report', code,
       CASE WHEN code ~ '^[0-9]{1,5}-[0-9]$' THEN 'http://loinc.org' END, coalesce(code_display, code_text),
       conclusion, NULL, status, 'diagnostic_reports', id
FROM diagnostic_reports
UNION ALL
SELECT patient_id, coalesce(period_start, created), 'care_plan', category_code,
       CASE WHEN category_code ~ '^[0-9]{6,18}$' THEN 'http://snomed.info/sct' END,
       coalesce(category_display, category_text, title), description, NULL, status,
       'care_plans', id
FROM care_plans
UNION ALL
SELECT patient_id, deceased_date, 'death', NULL, NULL, NULL, NULL, NULL, NULL,
       'patient_demographics', id
FROM patient_demographics WHERE deceased
