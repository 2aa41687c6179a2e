DROP TRIGGER IF EXISTS researchflow_rows ON {resource};
CREATE TRIGGER researchflow_rows AFTER INSERT OR DELETE ON {resource}
    FOR EACH ROW EXECUTE FUNCTION researchflow_outbox.note_change();
ALTER TABLE {resource} ENABLE ALWAYS TRIGGER researchflow_rows;

-- A search index made anew updates a row too; only what a view can see counts.
DROP TRIGGER IF EXISTS researchflow_updates ON {resource};
CREATE TRIGGER researchflow_updates AFTER UPDATE ON {resource} FOR EACH ROW
    WHEN (({old}) IS DISTINCT FROM ({new}))
    EXECUTE FUNCTION researchflow_outbox.note_change();
ALTER TABLE {resource} ENABLE ALWAYS TRIGGER researchflow_updates;

DROP TRIGGER IF EXISTS researchflow_truncate ON {resource};
CREATE TRIGGER researchflow_truncate AFTER TRUNCATE ON {resource}
    FOR EACH STATEMENT EXECUTE FUNCTION researchflow_outbox.note_change();
ALTER TABLE {resource} ENABLE ALWAYS TRIGGER researchflow_truncate;

-- A version written again in place: history rewritten, or history switched off.
DROP TRIGGER IF EXISTS researchflow_updates ON {version};
CREATE TRIGGER researchflow_updates AFTER UPDATE ON {version} FOR EACH ROW
    WHEN (OLD.* IS DISTINCT FROM NEW.*)
    EXECUTE FUNCTION researchflow_outbox.note_change();
ALTER TABLE {version} ENABLE ALWAYS TRIGGER researchflow_updates;

DROP TRIGGER IF EXISTS researchflow_truncate ON {version};
CREATE TRIGGER researchflow_truncate AFTER TRUNCATE ON {version}
    FOR EACH STATEMENT EXECUTE FUNCTION researchflow_outbox.note_change();
ALTER TABLE {version} ENABLE ALWAYS TRIGGER researchflow_truncate;

-- $meta-add and $meta-delete change tags without a new version.
DROP TRIGGER IF EXISTS researchflow_rows ON {tag};
CREATE TRIGGER researchflow_rows AFTER INSERT OR DELETE OR UPDATE ON {tag}
    FOR EACH ROW EXECUTE FUNCTION researchflow_outbox.note_change();
ALTER TABLE {tag} ENABLE ALWAYS TRIGGER researchflow_rows;

DROP TRIGGER IF EXISTS researchflow_truncate ON {tag};
CREATE TRIGGER researchflow_truncate AFTER TRUNCATE ON {tag}
    FOR EACH STATEMENT EXECUTE FUNCTION researchflow_outbox.note_change();
ALTER TABLE {tag} ENABLE ALWAYS TRIGGER researchflow_truncate;
