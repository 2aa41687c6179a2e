-- The tables of a HAPI FHIR JPA server (8.4 and later, without database partitioning) that a
-- reader needs, for embedded and development databases. The comment on hfj_resource marks them
-- as ours: `load` writes to no others unless told to.

CREATE SEQUENCE seq_resource_id START WITH 1 INCREMENT BY 50;
CREATE SEQUENCE seq_resource_history_id START WITH 1 INCREMENT BY 50;
CREATE SEQUENCE seq_tagdef_id START WITH 1 INCREMENT BY 50;
CREATE SEQUENCE seq_restag_id START WITH 1 INCREMENT BY 50;

CREATE TABLE hfj_resource (
    res_id                   bigint NOT NULL,
    partition_id             integer,
    partition_date           date,
    res_type                 varchar(40) NOT NULL,
    res_type_id              smallint,
    fhir_id                  varchar(64),
    res_ver                  bigint NOT NULL,           -- current versionId
    res_version              varchar(7),                -- FHIR release, not a version
    res_deleted_at           timestamp(6),
    res_published            timestamp(6) NOT NULL,
    res_updated              timestamp(6) NOT NULL,     -- in the server's zone
    has_tags                 boolean NOT NULL,
    hash_sha256              varchar(64),
    res_language             varchar(20),
    search_url_present       boolean,
    sp_index_status          smallint,
    sp_has_links             boolean NOT NULL,
    sp_cmpstr_uniq_present   boolean,
    sp_cmptoks_present       boolean,
    sp_coords_present        boolean NOT NULL,
    sp_date_present          boolean NOT NULL,
    sp_number_present        boolean NOT NULL,
    sp_quantity_nrml_present boolean NOT NULL,
    sp_quantity_present      boolean NOT NULL,
    sp_string_present        boolean NOT NULL,
    sp_token_present         boolean NOT NULL,
    sp_uri_present           boolean NOT NULL,
    CONSTRAINT hfj_resource_pkey PRIMARY KEY (res_id),
    CONSTRAINT idx_res_type_fhir_id UNIQUE (res_type, fhir_id)
);
CREATE INDEX idx_res_date ON hfj_resource (res_updated);
CREATE INDEX idx_res_fhir_id ON hfj_resource (fhir_id);
CREATE INDEX idx_res_resid_updated ON hfj_resource (res_id, res_updated, partition_id);
CREATE INDEX idx_res_type_del_updated
    ON hfj_resource (res_type, res_deleted_at, res_updated, partition_id, res_id);

CREATE TABLE hfj_res_ver (
    pid            bigint NOT NULL,
    partition_id   integer,
    partition_date date,
    res_id         bigint NOT NULL,
    res_type       varchar(40) NOT NULL,
    res_type_id    smallint,
    res_ver        bigint NOT NULL,
    res_version    varchar(7),
    res_deleted_at timestamp(6),
    res_published  timestamp(6) NOT NULL,
    res_updated    timestamp(6) NOT NULL,
    has_tags       boolean NOT NULL,
    res_encoding   varchar(5) NOT NULL,                 -- JSON, JSONC, DEL or ESR
    res_text       oid,                                 -- large object, before 7.0
    res_text_vc    text,
    request_id     varchar(16),
    source_uri     varchar(768),
    CONSTRAINT hfj_res_ver_pkey PRIMARY KEY (pid),
    CONSTRAINT idx_resver_id_ver UNIQUE (res_id, res_ver),
    CONSTRAINT fk_resource_history_resource FOREIGN KEY (res_id) REFERENCES hfj_resource (res_id)
);
ALTER TABLE hfj_res_ver ALTER res_text_vc SET STATISTICS 0;  -- long, and never compared
CREATE INDEX idx_resver_date ON hfj_res_ver (res_updated, res_id);
CREATE INDEX idx_resver_id_date ON hfj_res_ver (res_id, res_updated);
CREATE INDEX idx_resver_id_src_uri ON hfj_res_ver (source_uri, res_id, partition_id);
CREATE INDEX idx_resver_type_date ON hfj_res_ver (res_type, res_updated, res_id);

CREATE TABLE hfj_tag_def (
    tag_id            bigint NOT NULL,
    tag_type          integer NOT NULL,                 -- 0 tag, 1 profile, 2 security label
    tag_system        varchar(200),
    tag_code          varchar(200),
    tag_display       varchar(200),
    tag_version       varchar(30),
    tag_user_selected boolean,
    CONSTRAINT hfj_tag_def_pkey PRIMARY KEY (tag_id)
);
CREATE INDEX idx_tag_def_tp_cd_sys
    ON hfj_tag_def (tag_type, tag_code, tag_system, tag_id, tag_version, tag_user_selected);

CREATE TABLE hfj_res_tag (
    pid            bigint NOT NULL,
    partition_id   integer,
    partition_date date,
    res_id         bigint,
    res_type       varchar(40) NOT NULL,
    res_type_id    smallint,
    tag_id         bigint,
    CONSTRAINT hfj_res_tag_pkey PRIMARY KEY (pid),
    CONSTRAINT idx_restag_tagid UNIQUE (res_id, tag_id),
    CONSTRAINT fk_restag_resource FOREIGN KEY (res_id) REFERENCES hfj_resource (res_id),
    CONSTRAINT fk_restag_tag FOREIGN KEY (tag_id) REFERENCES hfj_tag_def (tag_id)
);
CREATE INDEX idx_res_tag_res_tag ON hfj_res_tag (res_id, tag_id, partition_id);
CREATE INDEX idx_res_tag_tag_res ON hfj_res_tag (tag_id, res_id, partition_id);

COMMENT ON TABLE hfj_resource IS 'researchflow development source';
