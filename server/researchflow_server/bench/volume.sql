-- {count} resources as HAPI stores them: one patient to nine laboratory results of hers.
INSERT INTO hfj_resource (res_id, res_type, fhir_id, res_ver, res_version, has_tags, res_published,
    res_updated, sp_has_links, sp_coords_present, sp_date_present, sp_number_present,
    sp_quantity_nrml_present, sp_quantity_present, sp_string_present, sp_token_present,
    sp_uri_present)
SELECT n, CASE WHEN n % 10 = 0 THEN 'Patient' ELSE 'Observation' END, 'r' || n, 1, 'R4', false,
       '2024-01-01', timestamp '2024-01-01' + n * interval '1 second', false, false, false, false,
       false, false, false, false, false
FROM generate_series(0, {last}) AS n;

INSERT INTO hfj_res_ver (pid, res_id, res_type, res_ver, res_version, has_tags, res_published,
    res_updated, res_encoding, res_text_vc)
SELECT res_id, res_id, res_type, 1, 'R4', false, res_published, res_updated, 'JSON',
       CASE WHEN res_type = 'Patient'
            THEN jsonb_build_object('resourceType', 'Patient', 'active', true,
                 'gender', CASE WHEN res_id % 20 = 0 THEN 'female' ELSE 'male' END,
                 'birthDate', (date '1940-01-01' + (res_id % 25000)::int)::text,
                 'name', jsonb_build_array(jsonb_build_object('family', 'Family' || res_id,
                     'given', jsonb_build_array('Given' || res_id))))
            ELSE jsonb_build_object('resourceType', 'Observation', 'status', 'final',
                 'category', jsonb_build_array(jsonb_build_object('coding', jsonb_build_array(
                     jsonb_build_object('system',
                         'http://terminology.hl7.org/CodeSystem/observation-category',
                         'code', 'laboratory', 'display', 'Laboratory')))),
                 'code', jsonb_build_object('text', 'Hemoglobin A1c', 'coding', jsonb_build_array(
                     jsonb_build_object('system', 'http://loinc.org', 'code', '4548-4',
                         'display', 'Hemoglobin A1c/Hemoglobin.total in Blood'))),
                 'subject', jsonb_build_object('reference', 'Patient/r' || res_id / 10 * 10),
                 'effectiveDateTime', (date '2020-01-01' + (res_id % 1500)::int)::text,
                 'issued', '2024-01-01T00:00:00.000+00:00',
                 'valueQuantity', jsonb_build_object('value', 4 + (res_id % 90) / 10.0,
                     'unit', '%', 'system', 'http://unitsofmeasure.org', 'code', '%'))
       END::text
FROM hfj_resource;
