-- Bookkeeping of the batch and speed layers. Every statement is safe to run again.
-- Physical view tables are made from the compiled views and live in this schema too:
--   researchflow.base_<view>_<digest>      rows of the current anchor
--   researchflow.history_<view>_<digest>   closed rows of earlier anchors
--   researchflow.overlay_<view>_<digest>   rows of overlay entries
-- Public names: sqlonfhir.<view> (current anchor), sqlonfhir_live.<view> (merged).

CREATE SCHEMA IF NOT EXISTS researchflow;
CREATE SCHEMA IF NOT EXISTS sqlonfhir;
CREATE SCHEMA IF NOT EXISTS sqlonfhir_live;

-- One row per published refresh, written in the commit that publishes its data.
CREATE TABLE IF NOT EXISTS researchflow.anchor (
    anchor          bigint PRIMARY KEY,
    data_as_of      timestamptz NOT NULL,      -- the source is complete up to here
    committed_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    source_snapshot text NOT NULL,             -- pg_current_snapshot() of the source
    changed         bigint NOT NULL,           -- resources created, updated or deleted since the last
    expired_at      timestamptz,               -- set when its history was given up
    read_as         text                       -- what the source's times and references were read with
);
ALTER TABLE researchflow.anchor ADD COLUMN IF NOT EXISTS read_as text;
-- Whether researchflow.missing tells what its views lacked: not of anchors from before that was kept.
ALTER TABLE researchflow.anchor
    ADD COLUMN IF NOT EXISTS missing_kept boolean NOT NULL DEFAULT false;

-- Names that people cite. A pinned anchor keeps its rows until it is unpinned.
CREATE TABLE IF NOT EXISTS researchflow.pin (
    name      text COLLATE "C" PRIMARY KEY,
    anchor    bigint NOT NULL REFERENCES researchflow.anchor (anchor),
    pinned_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX IF NOT EXISTS pin_anchor ON researchflow.pin (anchor);

-- How far retention has looked: closed rows up to here are those that a pinned anchor needs.
CREATE TABLE IF NOT EXISTS researchflow.retention (
    only_row  boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    pruned_to bigint NOT NULL DEFAULT 0
);
INSERT INTO researchflow.retention DEFAULT VALUES ON CONFLICT DO NOTHING;

-- The content hash of a view's rows, from this anchor to the next row of the view.
CREATE TABLE IF NOT EXISTS researchflow.content (
    view_name text COLLATE "C" NOT NULL,
    anchor    bigint NOT NULL,
    digest    text NOT NULL,                   -- of the definition whose rows these are
    row_count bigint NOT NULL,
    sums      bytea NOT NULL,                  -- store/content.py
    PRIMARY KEY (view_name, anchor)
);

-- What the batch layer holds: the newest version of each resource it has absorbed.
CREATE TABLE IF NOT EXISTS researchflow.ledger (
    res_id   bigint PRIMARY KEY,               -- the source's key: one incarnation of (res_type, id)
    res_type text COLLATE "C" NOT NULL,
    id       text COLLATE "C" NOT NULL,
    res_ver  bigint NOT NULL,
    deleted  boolean NOT NULL,
    tags     bigint                            -- digest of its tags; null where no view reads meta
);
ALTER TABLE researchflow.ledger ADD COLUMN IF NOT EXISTS tags bigint;
CREATE INDEX IF NOT EXISTS ledger_id ON researchflow.ledger (id, res_type);

-- The published definition of each view and the physical tables that hold it.
CREATE TABLE IF NOT EXISTS researchflow.view_catalogue (
    view_name     text COLLATE "C" PRIMARY KEY,
    digest        text NOT NULL,               -- of the canonical ViewDefinition and compiler version
    resource_type text COLLATE "C" NOT NULL,
    definition    jsonb NOT NULL,
    columns       jsonb NOT NULL,              -- the public columns, in order, as the compiler typed them
    base_table    text NOT NULL,               -- unqualified, in schema researchflow
    history_table text NOT NULL,
    overlay_table text NOT NULL,
    since_anchor  bigint NOT NULL,             -- the first anchor these tables can answer for
    registered_at timestamptz                  -- of this definition; null for views that are shipped
);
ALTER TABLE researchflow.view_catalogue ADD COLUMN IF NOT EXISTS registered_at timestamptz;

-- Definitions that were replaced or dropped while a pinned anchor held their rows.
CREATE TABLE IF NOT EXISTS researchflow.former_view (
    view_name     text COLLATE "C" NOT NULL,
    digest        text NOT NULL,
    resource_type text COLLATE "C" NOT NULL,
    definition    jsonb NOT NULL,
    columns       jsonb NOT NULL,
    base_table    text NOT NULL,
    history_table text NOT NULL,
    since_anchor  bigint NOT NULL,
    until_anchor  bigint NOT NULL,             -- the first anchor that has other rows
    returned      boolean NOT NULL DEFAULT false, -- kept for its retention, pinned or not
    PRIMARY KEY (view_name, since_anchor)
);
ALTER TABLE researchflow.former_view
    ADD COLUMN IF NOT EXISTS returned boolean NOT NULL DEFAULT false;

-- Views that cannot be computed for now; the others go on. A published one keeps the rows of the
-- last anchor at which it could be.
CREATE TABLE IF NOT EXISTS researchflow.set_aside (
    view_name     text COLLATE "C" PRIMARY KEY,
    resource_type text COLLATE "C" NOT NULL,
    digest        text NOT NULL,
    after_anchor  bigint,                      -- the last that it answers for; null: none yet
    code          text NOT NULL,
    reason        text NOT NULL,               -- without values
    set_aside_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    attempts      int NOT NULL DEFAULT 1,
    retry_at      timestamptz NOT NULL         -- a refresh by itself leaves it alone until then
);

-- Composed views: checked SQL over views, computed when it is asked.
CREATE TABLE IF NOT EXISTS researchflow.composed_view (
    view_name     text COLLATE "C" PRIMARY KEY,
    digest        text NOT NULL,               -- of the SQL, its columns and what its labels mean
    definition    jsonb NOT NULL,              -- the Library
    columns       jsonb NOT NULL,              -- as in view_catalogue
    depends_on    jsonb NOT NULL,              -- label → the view's name and its public columns
    fault         text,                        -- why it can no longer be computed
    registered_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
-- When it is no longer there, whoever reads; null for one that stays.
ALTER TABLE researchflow.composed_view ADD COLUMN IF NOT EXISTS expires_at timestamptz;

-- Resources whose rows could not be computed; the view goes on without them.
CREATE TABLE IF NOT EXISTS researchflow.dead_letter (
    view_name    text COLLATE "C" NOT NULL,
    res_type     text COLLATE "C" NOT NULL,
    id           text COLLATE "C" NOT NULL,
    res_ver      bigint NOT NULL,
    column_name  text,                         -- null when no single column is at fault
    reason       text NOT NULL,                -- error class and message without values
    seen_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    layer        text NOT NULL CHECK (layer IN ('batch', 'speed')),
    PRIMARY KEY (view_name, res_type, id, layer, res_ver)
);
-- Two versions of a resource may wait in the overlay at once, and fail both.
ALTER TABLE researchflow.dead_letter DROP CONSTRAINT IF EXISTS dead_letter_pkey;
ALTER TABLE researchflow.dead_letter ADD PRIMARY KEY (view_name, res_type, id, layer, res_ver);

-- The batch layer's dead letters as anchors had them: from since_anchor up to before until_anchor
-- the view lacked the resource.
CREATE TABLE IF NOT EXISTS researchflow.missing (
    view_name    text COLLATE "C" NOT NULL,
    res_type     text COLLATE "C" NOT NULL,
    id           text COLLATE "C" NOT NULL,
    since_anchor bigint NOT NULL,
    until_anchor bigint,                       -- null: it still does
    PRIMARY KEY (view_name, res_type, id, since_anchor)
);
CREATE UNIQUE INDEX IF NOT EXISTS missing_still
    ON researchflow.missing (view_name, res_type, id) WHERE until_anchor IS NULL;
CREATE INDEX IF NOT EXISTS missing_until ON researchflow.missing (until_anchor);

-- Deliveries of subscriptions that could not be taken, told without what they hold.
CREATE TABLE IF NOT EXISTS researchflow.refused_delivery (
    letter_id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    received_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    code        text NOT NULL,
    res_type    text COLLATE "C",              -- null when it names no resource type
    size_bytes  bigint NOT NULL,
    sha256      text NOT NULL                  -- of the body, to find it at the sender
);

-- Level 0: changes the batch layer has not absorbed. An entry counts while
-- valid_from <= now() < valid_until. What the source was not read for ends at its expiry: a
-- provisional entry (known from nowhere but its writer) and a reported one (somebody says that the
-- source has it; gone as soon as the source was asked later). While one covers another entry of the
-- same resource, that one's valid_from is moved to its end, so exactly one entry of a resource
-- counts at any time.
CREATE TABLE IF NOT EXISTS researchflow.overlay_entry (
    entry_id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    res_type    text COLLATE "C" NOT NULL,
    id          text COLLATE "C" NOT NULL,
    origin      text NOT NULL CHECK (origin IN ('source', 'reported', 'provisional')),
    version     bigint NOT NULL,
    deleted     boolean NOT NULL,
    provenance  text NOT NULL,                 -- who sent it
    received_at timestamptz NOT NULL,
    valid_from  timestamptz NOT NULL DEFAULT '-infinity',
    valid_until timestamptz NOT NULL DEFAULT 'infinity',
    base_res_id bigint,                        -- the ledger's res_id of this resource, if it has one
    stream_id   text NOT NULL,                 -- the entry's position in the Redis stream
    incarnation bigint,                        -- the source's key of it as its writer saw it
    UNIQUE (res_type, id, origin)
);
ALTER TABLE researchflow.overlay_entry ADD COLUMN IF NOT EXISTS incarnation bigint;
-- The source's transactions whose changes the tail read with it, null for others: it counts whatever
-- its version is, until a refresh has seen them all.
ALTER TABLE researchflow.overlay_entry ADD COLUMN IF NOT EXISTS read_xids xid8[];
ALTER TABLE researchflow.overlay_entry DROP CONSTRAINT IF EXISTS overlay_entry_origin_check;
ALTER TABLE researchflow.overlay_entry ADD CONSTRAINT overlay_entry_origin_check
    CHECK (origin IN ('source', 'reported', 'provisional'));
CREATE INDEX IF NOT EXISTS overlay_entry_base ON researchflow.overlay_entry (base_res_id);

-- What the entries say, deletions apart. In a table of its own: every live query reads the entries,
-- and beside resources of up to 2 kB, which PostgreSQL keeps in line, they fill ten times the pages.
CREATE TABLE IF NOT EXISTS researchflow.overlay_resource (
    entry_id bigint PRIMARY KEY REFERENCES researchflow.overlay_entry ON DELETE CASCADE,
    resource text NOT NULL                     -- the FHIR JSON as received
);
ALTER TABLE researchflow.overlay_resource ALTER COLUMN resource SET STORAGE EXTERNAL;
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_attribute
               WHERE attrelid = 'researchflow.overlay_entry'::regclass AND attname = 'resource'
                 AND NOT attisdropped) THEN
        INSERT INTO researchflow.overlay_resource (entry_id, resource)
        SELECT entry_id, resource FROM researchflow.overlay_entry WHERE NOT deleted;
        ALTER TABLE researchflow.overlay_entry DROP COLUMN resource;
    END IF;
END
$$;

-- How far each resource type's Redis stream has been applied. Another epoch, or a stream whose
-- entries do not continue from here, means that Redis lost what it held.
CREATE TABLE IF NOT EXISTS researchflow.projection (
    res_type   text COLLATE "C" PRIMARY KEY,
    epoch      text NOT NULL,
    stream_id  text NOT NULL,                  -- the last applied entry
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- The last look at the source for changes the batch layer lacks.
CREATE TABLE IF NOT EXISTS researchflow.source_check (
    res_type   text COLLATE "C" PRIMARY KEY,
    checked_at timestamptz NOT NULL,
    pending    bigint NOT NULL,
    oldest_pending_at timestamptz,             -- null when nothing is pending
    complete_at timestamptz,                   -- the last look at which nothing was
    reads_meta boolean NOT NULL DEFAULT false  -- a published view reads meta, so tags are compared
);
ALTER TABLE researchflow.source_check ADD COLUMN IF NOT EXISTS complete_at timestamptz;
ALTER TABLE researchflow.source_check
    ADD COLUMN IF NOT EXISTS reads_meta boolean NOT NULL DEFAULT false;

-- The last count of what is not deleted, at one instant of the source.
CREATE TABLE IF NOT EXISTS researchflow.source_count (
    res_type   text COLLATE "C" PRIMARY KEY,
    in_source  bigint NOT NULL,
    in_ledger  bigint NOT NULL,
    counted_at timestamptz NOT NULL
);

-- Checksums over every key's version, of both sides.
ALTER TABLE researchflow.source_count ADD COLUMN IF NOT EXISTS source_sum bigint;
ALTER TABLE researchflow.source_count ADD COLUMN IF NOT EXISTS ledger_sum bigint;

-- Whether the source's dates can be believed: see runners' source/clock.py.
CREATE TABLE IF NOT EXISTS researchflow.source_clock (
    is_only        boolean PRIMARY KEY DEFAULT true CHECK (is_only),
    zone           text NOT NULL,              -- the zone the dates were read in
    looked_at      timestamptz NOT NULL,
    newest_at      timestamptz,                -- the newest date of all resources
    proved_at      timestamptz,                -- the last change whose date lay where it must
    verdict        text CHECK (verdict IN ('ahead', 'behind')),
    offset_s       double precision,
    changes_behind integer NOT NULL,
    behind_from_s  double precision NOT NULL,
    behind_to_s    double precision NOT NULL
);

-- How far the source's changes were read, by whom: the refresh with its anchor, the tail with its
-- overlay rows, each in one commit.
CREATE TABLE IF NOT EXISTS researchflow.feed_position (
    reader      text PRIMARY KEY CHECK (reader IN ('refresh', 'tail')),
    feed        text NOT NULL CHECK (feed IN ('outbox', 'scan')),
    reason      text,                          -- why everything was compared; null: the outbox told
    snapshot    text,                          -- of the source: what was visible in it is read
    identity    jsonb,                         -- of the source and its triggers; null: compare next time
    witness     text,                          -- the outbox's newest row in that snapshot
    types       text[] NOT NULL DEFAULT '{}',
    seen_at     timestamptz NOT NULL,          -- the source is read up to here
    compared_at timestamptz                    -- the last time that everything was compared
);
-- Since when there is more than the tail takes at once: a refresh has to absorb it; null: there is
-- not.
ALTER TABLE researchflow.feed_position ADD COLUMN IF NOT EXISTS left_at timestamptz;

-- Every attempt to refresh; failures are rows too.
CREATE TABLE IF NOT EXISTS researchflow.refresh_run (
    run_id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    started_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at timestamptz,
    outcome     text NOT NULL DEFAULT 'running',
    anchor      bigint,                        -- published, or found to be still true
    changed     bigint,
    error_code  text,
    backend_pid int,                           -- of the session that holds the refresh lock
    seen_at     timestamptz NOT NULL DEFAULT clock_timestamp() -- the refresher was alive
);
ALTER TABLE researchflow.refresh_run
    ADD COLUMN IF NOT EXISTS backend_pid int,
    ADD COLUMN IF NOT EXISTS seen_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- Source and ledger were compared after it; null: that was not its turn.
    ADD COLUMN IF NOT EXISTS counted boolean,
    DROP CONSTRAINT IF EXISTS refresh_run_outcome_check,
    ADD CONSTRAINT refresh_run_outcome_check
        CHECK (outcome IN ('running', 'published', 'unchanged', 'failed', 'cancelled'));

-- The run whose refresher lives: its session holds the refresh lock (store/locks.py).
CREATE OR REPLACE VIEW researchflow.refresh_alive AS
SELECT r.run_id, r.seen_at FROM researchflow.refresh_run AS r
JOIN pg_locks AS l ON l.pid = r.backend_pid
WHERE r.outcome = 'running' AND l.locktype = 'advisory' AND l.granted
  AND l.classid = 0 AND l.objid = 1381189171 AND l.objsubid = 1
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database());

-- Runs that nobody will end: their refreshers died, and the next one closes their rows. One that
-- fails gives its lock back before it says so, within the time of three of its words.
CREATE OR REPLACE VIEW researchflow.refresh_dead AS
SELECT r.run_id, r.seen_at, 'refresher_died' AS error_code FROM researchflow.refresh_run AS r
WHERE r.outcome = 'running' AND r.seen_at < clock_timestamp() - interval '15 s'
  AND NOT EXISTS (SELECT FROM researchflow.refresh_alive AS a WHERE a.run_id = r.run_id);

-- The codes that occur in the rows of a view's base table, counted as of the current anchor
-- (codes/index.py). They count while the catalogue names the table.
CREATE TABLE IF NOT EXISTS researchflow.code_table (
    table_id   int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    base_table text COLLATE "C" NOT NULL UNIQUE
);
CREATE TABLE IF NOT EXISTS researchflow.code (
    code_id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    table_id      int NOT NULL,
    column_name   text COLLATE "C" NOT NULL,
    system        text COLLATE "C" NOT NULL,   -- empty where nothing tells it
    code          text COLLATE "C" NOT NULL,
    row_count     bigint NOT NULL,
    patient_count bigint NOT NULL,             -- 0 in a view whose rows have no patient
    display       text COLLATE "C",            -- the most frequent; null without any
    words         text[] COLLATE "C",          -- of all its displays, or of a code without any
    UNIQUE (table_id, column_name, system, code)
);
-- Whether a word is rare or common decides how its codes are found.
ALTER TABLE researchflow.code ALTER COLUMN words SET STATISTICS 300;
CREATE INDEX IF NOT EXISTS code_words ON researchflow.code USING gin (words);
CREATE INDEX IF NOT EXISTS code_rank
    ON researchflow.code (patient_count DESC, row_count DESC, code);
CREATE INDEX IF NOT EXISTS code_folded ON researchflow.code (lower(code));
CREATE TABLE IF NOT EXISTS researchflow.code_display (
    code_id   bigint NOT NULL,
    display   text COLLATE "C" NOT NULL,       -- empty of rows without one
    row_count bigint NOT NULL,
    words     text[] COLLATE "C" NOT NULL,
    PRIMARY KEY (code_id, display)
);
-- Every word that some display has had: what a misspelt one is compared with.
CREATE TABLE IF NOT EXISTS researchflow.code_word (
    word_id bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    word    text COLLATE "C" PRIMARY KEY
);

-- What a computed text passes on its way to a date in users' SQL (composed/casts.py): the signs of
-- ISO 8601, none of the words that would mean the clock. Anything else is the error of the cast.
DO $$
BEGIN
    CREATE DOMAIN researchflow.iso_text AS text COLLATE "C" CONSTRAINT iso_8601 CHECK (
        CASE WHEN VALUE ~ '^[-+0-9:.TtZz ]*( BC)?$' THEN true
             ELSE ('no ISO 8601' || left(VALUE, 0))::date IS NULL END);
EXCEPTION WHEN duplicate_object THEN NULL;
END
$$;

-- Rewritten by every refresh or change: at autovacuum's default of a fifth dead rows, large ones
-- would keep as much waste.
ALTER TABLE researchflow.ledger
    SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.05);
ALTER TABLE researchflow.content
    SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.05);
ALTER TABLE researchflow.overlay_entry
    SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.05);
ALTER TABLE researchflow.overlay_resource
    SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.05);

-- A reader whose snapshot is older than a redefinition would find the new tables empty; the SQL
-- views ask this first, so that such a reader gets an error and never a wrong zero. SECURITY
-- DEFINER: who may read the SQL views need not be let into this schema.
CREATE OR REPLACE FUNCTION researchflow.require_published(view_name text, digest text)
RETURNS boolean LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER
SET search_path = researchflow, pg_temp AS $function$
BEGIN
    PERFORM FROM researchflow.view_catalogue AS c
    WHERE c.view_name = require_published.view_name AND c.digest = require_published.digest;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'view "%" was redefined after this transaction began', view_name
            USING ERRCODE = 'serialization_failure', HINT = 'Begin a new transaction.';
    END IF;
    PERFORM FROM researchflow.set_aside AS s WHERE s.view_name = require_published.view_name;
    IF FOUND THEN
        RAISE EXCEPTION 'view "%" is set aside: it cannot be computed for now', view_name
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  HINT = 'researchflow status says why.';
    END IF;
    RETURN true;
END
$function$;
