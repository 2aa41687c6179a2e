-- What `researchflow source prepare` installs in the FHIR server's database: a table of changed
-- keys, and triggers that fill it in the transaction of the change. HAPI's tables stay as they are.
CREATE SCHEMA IF NOT EXISTS researchflow_outbox;

CREATE TABLE IF NOT EXISTS researchflow_outbox.change (
    xid    xid8 NOT NULL DEFAULT pg_current_xact_id(),
    seq    bigint GENERATED ALWAYS AS IDENTITY,
    at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    res_id bigint,                              -- null: a table was emptied
    PRIMARY KEY (xid, seq)
);
-- No resource has this key; readers know the outbox again by its newest row, so it is never empty.
INSERT INTO researchflow_outbox.change (res_id)
SELECT -1 WHERE NOT EXISTS (SELECT FROM researchflow_outbox.change);

-- SECURITY DEFINER: the FHIR server's role needs no right of its own here.
CREATE OR REPLACE FUNCTION researchflow_outbox.note_change() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        INSERT INTO researchflow_outbox.change (res_id) VALUES (NULL);
    ELSIF TG_OP = 'DELETE' THEN
        INSERT INTO researchflow_outbox.change (res_id) VALUES (OLD.res_id);
    ELSE
        INSERT INTO researchflow_outbox.change (res_id) VALUES (NEW.res_id);
    END IF;
    PERFORM pg_notify('researchflow_outbox', '');
    RETURN NULL;
END
$function$;
REVOKE EXECUTE ON FUNCTION researchflow_outbox.note_change() FROM PUBLIC;
