-- A ledger of schema version 17 on postgresql: that of version 16, as version 17 brought it there. Frozen: never change it.
CREATE FUNCTION imagen_calls_insert_history() RETURNS trigger
    LANGUAGE plpgsql
    AS $$ BEGIN
    INSERT INTO imagen_history (subject, "before", "after", at)
    VALUES (NEW.id, NULL, NEW.outcome, clock_timestamp()); RETURN NULL; END $$;
CREATE FUNCTION imagen_calls_update_history() RETURNS trigger
    LANGUAGE plpgsql
    AS $$ BEGIN
    INSERT INTO imagen_history (subject, "before", "after", at)
    VALUES (NEW.id, OLD.outcome, NEW.outcome, clock_timestamp()); RETURN NULL; END $$;
CREATE FUNCTION imagen_items_update_history() RETURNS trigger
    LANGUAGE plpgsql
    AS $$ BEGIN
    INSERT INTO imagen_history (subject, "before", "after", at)
    VALUES (NEW.id, OLD.state, NEW.state, clock_timestamp()); RETURN NULL; END $$;
CREATE TABLE imagen_calls (
    id text NOT NULL,
    item_id text NOT NULL,
    number integer NOT NULL,
    run_id text NOT NULL,
    holder_id text NOT NULL,
    outcome text NOT NULL,
    billed boolean,
    reserved bigint NOT NULL,
    settled bigint,
    cost_source text,
    wire_model text NOT NULL,
    contract text NOT NULL,
    prompt text,
    requested integer NOT NULL,
    returned integer,
    seed text,
    http_status integer,
    reason text,
    inference_id text,
    request_id text,
    sent_at timestamp with time zone NOT NULL,
    ended_at timestamp with time zone,
    provider text,
    origin text,
    key_fingerprint text,
    expected bigint,
    recovery text,
    CONSTRAINT imagen_calls_outcome_is_known CHECK ((outcome = ANY (ARRAY['sent'::text, 'answered'::text, 'refused'::text, 'unbilled'::text, 'unknown'::text])))
);
COMMENT ON COLUMN imagen_calls.id IS 'also the X-Client-Request-Id';
COMMENT ON COLUMN imagen_calls.billed IS 'null: not known';
COMMENT ON COLUMN imagen_calls.cost_source IS 'reply, or price list where the reply names no cost';
COMMENT ON COLUMN imagen_calls.prompt IS 'as sent, where it is not the item''s own';
COMMENT ON COLUMN imagen_calls.requested IS 'images asked for';
COMMENT ON COLUMN imagen_calls.seed IS 'sent; else as the reply names it; may exceed 64 bits';
COMMENT ON COLUMN imagen_calls.provider IS 'whose account it is on';
COMMENT ON COLUMN imagen_calls.origin IS 'the API: scheme, host and port, or sandbox';
COMMENT ON COLUMN imagen_calls.key_fingerprint IS 'salted; which key of the account; null: not known';
COMMENT ON COLUMN imagen_calls.expected IS 'price by the price list; null: not known';
COMMENT ON COLUMN imagen_calls.recovery IS 'how its answer can be asked for once more; null: it cannot';
CREATE TABLE imagen_checks (
    call_id text NOT NULL,
    idx integer NOT NULL,
    sha256 text,
    flags text NOT NULL,
    flagged integer NOT NULL,
    details text NOT NULL,
    dhash text,
    duplicate_group text,
    run_duplicate_group text,
    settings text NOT NULL,
    checked_at timestamp with time zone NOT NULL
);
COMMENT ON COLUMN imagen_checks.sha256 IS 'of the image that was checked';
COMMENT ON COLUMN imagen_checks.flags IS 'names';
COMMENT ON COLUMN imagen_checks.flagged IS 'number of flags';
COMMENT ON COLUMN imagen_checks.details IS 'what was found, by flag';
COMMENT ON COLUMN imagen_checks.dhash IS '64 bits, hexadecimal';
COMMENT ON COLUMN imagen_checks.duplicate_group IS 'the oldest image of those that look alike in the whole catalog';
COMMENT ON COLUMN imagen_checks.run_duplicate_group IS 'the same among the images that one run bought';
COMMENT ON COLUMN imagen_checks.settings IS 'fingerprint of the checks and their settings';
CREATE TABLE imagen_images (
    call_id text NOT NULL,
    idx integer NOT NULL,
    item_id text NOT NULL,
    state text NOT NULL,
    reason text,
    attempts integer NOT NULL,
    source_url text,
    revised_prompt text,
    content_type text,
    width integer,
    height integer,
    bytes bigint,
    sha256 text,
    destination text,
    key text,
    uri text,
    stored_at timestamp with time zone,
    damage text,
    requested_at timestamp with time zone,
    c2pa text,
    c2pa_issuer text,
    digital_source_type text,
    marked text,
    CONSTRAINT imagen_images_state_is_known CHECK ((state = ANY (ARRAY['pending'::text, 'stored'::text, 'quarantined'::text, 'lost'::text, 'erased'::text])))
);
COMMENT ON COLUMN imagen_images.damage IS 'what is wrong with a stored picture, or could not be checked';
COMMENT ON COLUMN imagen_images.requested_at IS 'when the call was sent: the order in which images are shown';
COMMENT ON COLUMN imagen_images.c2pa IS 'what its C2PA manifest is worth; null: its format was not searched';
COMMENT ON COLUMN imagen_images.c2pa_issuer IS 'who signed it';
COMMENT ON COLUMN imagen_images.digital_source_type IS 'what it says itself: a term of IPTC''s';
COMMENT ON COLUMN imagen_images.marked IS 'how it was marked where it is stored: sidecar';
CREATE TABLE imagen_items (
    id text NOT NULL,
    model text NOT NULL,
    prompt text NOT NULL,
    parameters text NOT NULL,
    edition text NOT NULL,
    repeat integer NOT NULL,
    kind text DEFAULT 'image'::text NOT NULL,
    rewrite_id text,
    variation integer,
    state text NOT NULL,
    reason text,
    holder_id text,
    created_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    inputs text,
    archive_part bigint,
    CONSTRAINT imagen_items_kind_is_known CHECK ((kind = ANY (ARRAY['image'::text, 'rewrite'::text]))),
    CONSTRAINT imagen_items_state_is_known CHECK ((state = ANY (ARRAY['planned'::text, 'claimed'::text, 'sent'::text, 'generated'::text, 'delivered'::text, 'lost'::text, 'refused'::text, 'failed'::text, 'unknown'::text, 'erased'::text])))
);
COMMENT ON COLUMN imagen_items.kind IS 'image, or rewrite: a text';
COMMENT ON COLUMN imagen_items.rewrite_id IS 'of an image: the rewrite whose text is to be sent';
COMMENT ON COLUMN imagen_items.variation IS 'which of several rewrites of a prompt';
COMMENT ON COLUMN imagen_items.inputs IS 'pictures that go in: by the parameter that names each, its hash';
COMMENT ON COLUMN imagen_items.archive_part IS 'of one whose rows were moved out: which archive, and how it stood';
CREATE TABLE imagen_meta (
    key text NOT NULL,
    value text NOT NULL
);
CREATE TABLE imagen_reviews (
    call_id text NOT NULL,
    idx integer NOT NULL,
    verdict text NOT NULL,
    verdict_at timestamp with time zone,
    stars integer NOT NULL,
    stars_at timestamp with time zone,
    reviewer text NOT NULL,
    reviewed_at timestamp with time zone NOT NULL,
    reason text,
    note text,
    sha256 text,
    note_at timestamp with time zone,
    CONSTRAINT imagen_reviews_verdict_is_known CHECK ((verdict = ANY (ARRAY['approved'::text, 'rejected'::text, 'none'::text])))
);
COMMENT ON COLUMN imagen_reviews.reviewer IS 'who spoke last';
COMMENT ON COLUMN imagen_reviews.reason IS 'of the verdict';
COMMENT ON COLUMN imagen_reviews.sha256 IS 'of the image that was looked at last';
CREATE TABLE imagen_revisions (
    item_id text NOT NULL,
    root_id text NOT NULL,
    revision integer NOT NULL,
    parent_id text NOT NULL,
    call_id text NOT NULL,
    idx integer NOT NULL,
    kind text NOT NULL,
    model text NOT NULL,
    prompt text NOT NULL,
    parameters text NOT NULL,
    edition text NOT NULL,
    created_at timestamp with time zone NOT NULL,
    CONSTRAINT imagen_revisions_kind_is_known CHECK ((kind = ANY (ARRAY['seed'::text, 'prompt'::text, 'parameters'::text])))
);
COMMENT ON COLUMN imagen_revisions.root_id IS 'the item that all of them descend from';
COMMENT ON COLUMN imagen_revisions.revision IS 'from 2: one more than that of the parent';
COMMENT ON COLUMN imagen_revisions.parent_id IS 'the item of the image that is replaced';
COMMENT ON COLUMN imagen_revisions.call_id IS 'of the image that is replaced';
COMMENT ON COLUMN imagen_revisions.model IS 'with its contract';
CREATE TABLE imagen_run_items (
    run_id text NOT NULL,
    "position" integer NOT NULL,
    item_id text NOT NULL,
    source text NOT NULL,
    line integer NOT NULL,
    "row" text NOT NULL,
    choices text NOT NULL,
    owned boolean NOT NULL
);
CREATE TABLE imagen_runs (
    id text NOT NULL,
    holder_id text NOT NULL,
    flow_run_id text,
    flow_run_name text,
    flow_run_url text,
    model text NOT NULL,
    parameters text NOT NULL,
    models text,
    destination text,
    edition text NOT NULL,
    tags text NOT NULL,
    budget bigint,
    reserved bigint NOT NULL,
    spent bigint NOT NULL,
    started_at timestamp with time zone NOT NULL,
    ended_at timestamp with time zone,
    outcome text,
    warned boolean,
    mark text,
    CONSTRAINT imagen_runs_outcome_is_known CHECK ((outcome = ANY (ARRAY['Completed'::text, 'Incomplete'::text, 'BudgetReached'::text, 'Blocked'::text, 'Stopped'::text, 'Rebuilt'::text])))
);
COMMENT ON COLUMN imagen_runs.flow_run_url IS 'its page in Prefect''s UI, where the address is known';
COMMENT ON COLUMN imagen_runs.models IS 'what may be bought, in order, at what prices, and what is left out';
COMMENT ON COLUMN imagen_runs.warned IS 'whether it was said that the budget is nearly used';
COMMENT ON COLUMN imagen_runs.mark IS 'how its images are marked; null: not at all';
CREATE VIEW catalog AS
 SELECT ((im.call_id || '-'::text) || im.idx) AS image_id,
    im.item_id,
    im.state,
    im.uri,
    im.destination,
    im.key AS object_key,
    i.model,
    COALESCE(c.prompt, i.prompt) AS prompt,
    im.revised_prompt,
    i.parameters,
    c.seed,
    i.edition,
    i.repeat AS repeat_number,
    im.idx AS image_index,
    c.requested AS images_requested,
    c.returned AS images_returned,
    im.content_type,
    im.width,
    im.height,
    im.bytes,
    im.sha256,
    ((c.settled / c.returned) +
        CASE
            WHEN (( SELECT count(*) AS count
               FROM imagen_images e
              WHERE ((e.call_id = im.call_id) AND (e.idx < im.idx))) < (c.settled % (c.returned)::bigint)) THEN 1
            ELSE 0
        END) AS cost_credits,
    ((((c.settled / c.returned) +
        CASE
            WHEN (( SELECT count(*) AS count
               FROM imagen_images e
              WHERE ((e.call_id = im.call_id) AND (e.idx < im.idx))) < (c.settled % (c.returned)::bigint)) THEN 1
            ELSE 0
        END))::numeric / 2000000.0) AS cost_usd,
    c.cost_source,
    im.requested_at,
    c.ended_at AS answered_at,
    im.stored_at,
    im.reason,
    substr(im.source_url, 1, (length(im.source_url) - length(ltrim(im.source_url, replace(im.source_url, '?'::text, ''::text))))) AS source_url,
    im.call_id AS client_request_id,
    c.inference_id,
    c.request_id AS provider_request_id,
    c.number AS call_number,
    c.wire_model,
    c.contract,
    c.run_id,
    r.flow_run_id,
    r.flow_run_name,
    r.tags,
    ( SELECT ri.source
           FROM imagen_run_items ri
          WHERE ((ri.run_id = c.run_id) AND (ri.item_id = im.item_id))
          ORDER BY (ri."position" + 0)
         LIMIT 1) AS source_file,
    ( SELECT ri.line
           FROM imagen_run_items ri
          WHERE ((ri.run_id = c.run_id) AND (ri.item_id = im.item_id))
          ORDER BY (ri."position" + 0)
         LIMIT 1) AS source_line,
    ( SELECT ri."row"
           FROM imagen_run_items ri
          WHERE ((ri.run_id = c.run_id) AND (ri.item_id = im.item_id))
          ORDER BY (ri."position" + 0)
         LIMIT 1) AS source_row,
    COALESCE(c.origin, ( SELECT m.value
           FROM imagen_meta m
          WHERE (m.key = 'api_origin'::text))) AS api_origin,
    i.prompt AS source_prompt,
        CASE
            WHEN (c.prompt IS NOT NULL) THEN rw.model
            ELSE NULL::text
        END AS rewritten_by,
    i.variation,
    r.flow_run_url,
    im.damage,
    COALESCE(rv.verdict, 'none'::text) AS verdict,
    COALESCE(rv.stars, 0) AS stars,
    rv.reviewer,
    rv.reviewed_at,
    rv.reason AS review_reason,
    rv.note AS review_note,
    rv.sha256 AS reviewed_sha256,
    ch.flags,
    COALESCE(ch.flagged, 0) AS flag_count,
    ch.details AS flag_details,
    ch.duplicate_group,
    ch.run_duplicate_group,
    ch.checked_at,
    COALESCE(rn.revision, 1) AS revision,
    rn.parent_id AS parent_item_id,
    ((rn.call_id || '-'::text) || rn.idx) AS parent_image_id,
    im.c2pa,
    im.c2pa_issuer,
    im.digital_source_type,
    im.marked,
    i.inputs,
    c.provider
   FROM (((((((imagen_images im
     LEFT JOIN imagen_calls c ON ((c.id = im.call_id)))
     LEFT JOIN imagen_items i ON ((i.id = im.item_id)))
     LEFT JOIN imagen_runs r ON ((r.id = c.run_id)))
     LEFT JOIN imagen_items rw ON ((rw.id = i.rewrite_id)))
     LEFT JOIN imagen_reviews rv ON (((rv.call_id = im.call_id) AND (rv.idx = im.idx))))
     LEFT JOIN imagen_checks ch ON (((ch.call_id = im.call_id) AND (ch.idx = im.idx))))
     LEFT JOIN imagen_revisions rn ON ((rn.item_id = im.item_id)));
CREATE TABLE imagen_accounts (
    provider text NOT NULL,
    origin text NOT NULL,
    address text
);
COMMENT ON COLUMN imagen_accounts.origin IS 'scheme, host and port, or sandbox';
COMMENT ON COLUMN imagen_accounts.address IS 'where it answered the last time';
CREATE TABLE imagen_archive_parts (
    number bigint NOT NULL,
    archive_id text NOT NULL,
    destinations text NOT NULL,
    stored integer NOT NULL,
    quarantined integer NOT NULL,
    damaged integer NOT NULL,
    items bigint NOT NULL
);
COMMENT ON COLUMN imagen_archive_parts.stored IS 'images of an item';
COMMENT ON COLUMN imagen_archive_parts.quarantined IS 'images of an item';
COMMENT ON COLUMN imagen_archive_parts.damaged IS 'stored images of an item';
COMMENT ON COLUMN imagen_archive_parts.items IS 'how many there are';
CREATE SEQUENCE imagen_archive_parts_number_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE imagen_archive_parts_number_seq OWNED BY imagen_archive_parts.number;
CREATE TABLE imagen_archive_work (
    item_id text NOT NULL,
    archive_id text NOT NULL,
    digest text NOT NULL
);
CREATE TABLE imagen_archived_calls (
    archive_id text NOT NULL,
    run_id text NOT NULL,
    provider text NOT NULL,
    origin text NOT NULL,
    key_fingerprint text NOT NULL,
    outcome text NOT NULL,
    billed boolean NOT NULL,
    item_state text NOT NULL,
    sent_from timestamp with time zone NOT NULL,
    calls bigint NOT NULL,
    settled bigint NOT NULL,
    images bigint NOT NULL
);
COMMENT ON COLUMN imagen_archived_calls.sent_from IS 'beginning of the quarter of an hour';
COMMENT ON COLUMN imagen_archived_calls.images IS 'stored';
CREATE TABLE imagen_archived_rows (
    archive_id text NOT NULL,
    run_id text NOT NULL,
    item_state text NOT NULL,
    rows bigint NOT NULL,
    items bigint NOT NULL,
    owned bigint NOT NULL,
    images bigint NOT NULL,
    quarantined bigint NOT NULL,
    damaged bigint NOT NULL
);
CREATE TABLE imagen_archives (
    id text NOT NULL,
    destination text NOT NULL,
    holder_id text NOT NULL,
    state text NOT NULL,
    selection text NOT NULL,
    files text,
    created_at timestamp with time zone NOT NULL,
    changed_at timestamp with time zone NOT NULL,
    CONSTRAINT imagen_archives_state_is_known CHECK ((state = ANY (ARRAY['writing'::text, 'written'::text, 'moved'::text, 'restoring'::text, 'restored'::text])))
);
COMMENT ON COLUMN imagen_archives.holder_id IS 'the process that worked on it last';
COMMENT ON COLUMN imagen_archives.selection IS 'which items were meant';
COMMENT ON COLUMN imagen_archives.files IS 'rows, bytes and hash of each, once all are stored';
CREATE TABLE imagen_budget_windows (
    period text NOT NULL,
    provider text NOT NULL,
    "window" text NOT NULL,
    reserved bigint NOT NULL,
    spent bigint NOT NULL,
    warned boolean NOT NULL
);
COMMENT ON COLUMN imagen_budget_windows."window" IS '2026-03-01, or 2026-03';
CREATE TABLE imagen_budgets (
    period text NOT NULL,
    provider text NOT NULL,
    credits bigint NOT NULL,
    timezone text NOT NULL,
    set_at timestamp with time zone NOT NULL
);
COMMENT ON COLUMN imagen_budgets.period IS 'day or month';
COMMENT ON COLUMN imagen_budgets.provider IS 'whose calls count; empty: all calls';
CREATE TABLE imagen_deliveries (
    call_id text NOT NULL,
    idx integer NOT NULL,
    destination text NOT NULL,
    key text NOT NULL,
    uri text NOT NULL,
    etag text,
    stored_at timestamp with time zone NOT NULL
);
CREATE TABLE imagen_handovers (
    target text NOT NULL,
    call_id text NOT NULL,
    idx integer NOT NULL,
    key text NOT NULL,
    sha256 text NOT NULL,
    at timestamp with time zone NOT NULL
);
CREATE TABLE imagen_history (
    number bigint NOT NULL,
    subject text NOT NULL,
    before text,
    after text NOT NULL,
    at timestamp with time zone NOT NULL
);
COMMENT ON COLUMN imagen_history.before IS 'null for a call that was just sent';
CREATE SEQUENCE imagen_history_number_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE imagen_history_number_seq OWNED BY imagen_history.number;
CREATE TABLE imagen_holders (
    id text NOT NULL,
    host text NOT NULL,
    boot text NOT NULL,
    pid integer NOT NULL,
    started_at timestamp with time zone NOT NULL,
    heartbeat double precision NOT NULL,
    ended_at timestamp with time zone
);
CREATE TABLE imagen_marks (
    destination text NOT NULL,
    number bigint NOT NULL
);
CREATE TABLE imagen_quota_shares (
    id text NOT NULL,
    holder_id text NOT NULL,
    key text NOT NULL,
    model text NOT NULL,
    per_minute double precision,
    in_flight integer,
    wanted integer NOT NULL,
    granted integer NOT NULL
);
CREATE TABLE imagen_quotas (
    key text NOT NULL,
    model text NOT NULL,
    ceiling double precision,
    proved integer NOT NULL,
    busy double precision NOT NULL,
    next_at double precision NOT NULL,
    leased_at double precision NOT NULL,
    cut_at double precision NOT NULL,
    cool_until double precision NOT NULL
);
COMMENT ON COLUMN imagen_quotas.ceiling IS 'calls a minute at which the last 429 came';
CREATE TABLE imagen_revision_requests (
    number bigint NOT NULL,
    id text NOT NULL,
    item_id text NOT NULL,
    reviewer text NOT NULL,
    at timestamp with time zone NOT NULL,
    withdrawn boolean NOT NULL
);
COMMENT ON COLUMN imagen_revision_requests.id IS 'made by the client, so that a repeat is known';
CREATE SEQUENCE imagen_revision_requests_number_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE imagen_revision_requests_number_seq OWNED BY imagen_revision_requests.number;
CREATE TABLE imagen_rewrites (
    item_id text NOT NULL,
    call_id text NOT NULL,
    text text NOT NULL,
    created_at timestamp with time zone NOT NULL
);
CREATE TABLE imagen_verdicts (
    number bigint NOT NULL,
    id text NOT NULL,
    call_id text NOT NULL,
    idx integer NOT NULL,
    sha256 text,
    reviewer text NOT NULL,
    at timestamp with time zone NOT NULL,
    verdict text,
    stars integer,
    reason text,
    note text,
    recorded_at timestamp with time zone NOT NULL,
    CONSTRAINT imagen_verdicts_verdict_is_known CHECK ((verdict = ANY (ARRAY['approved'::text, 'rejected'::text, 'none'::text])))
);
COMMENT ON COLUMN imagen_verdicts.id IS 'made by the client, so that a repeat is known';
COMMENT ON COLUMN imagen_verdicts.sha256 IS 'of the image that was looked at';
CREATE SEQUENCE imagen_verdicts_number_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE imagen_verdicts_number_seq OWNED BY imagen_verdicts.number;
ALTER TABLE ONLY imagen_archive_parts ALTER COLUMN number SET DEFAULT nextval('imagen_archive_parts_number_seq'::regclass);
ALTER TABLE ONLY imagen_history ALTER COLUMN number SET DEFAULT nextval('imagen_history_number_seq'::regclass);
ALTER TABLE ONLY imagen_revision_requests ALTER COLUMN number SET DEFAULT nextval('imagen_revision_requests_number_seq'::regclass);
ALTER TABLE ONLY imagen_verdicts ALTER COLUMN number SET DEFAULT nextval('imagen_verdicts_number_seq'::regclass);
INSERT INTO imagen_accounts VALUES ('aimlapi', 'https://api.aimlapi.com', NULL);
INSERT INTO imagen_accounts VALUES ('fal', 'https://queue.fal.run', 'https://queue.fal.run');
INSERT INTO imagen_budget_windows VALUES ('day', '', '2026-11-25', 212000, 1040141, false);
INSERT INTO imagen_budget_windows VALUES ('month', '', '2026-11', 212000, 1040141, false);
INSERT INTO imagen_budgets VALUES ('day', '', 1000000000, 'Europe/Berlin', '2026-11-25 22:40:08.20431+00');
INSERT INTO imagen_budgets VALUES ('month', '', 10000000000, 'UTC', '2026-11-25 22:40:08.211664+00');
INSERT INTO imagen_budgets VALUES ('month', 'fal', 5000000000, 'UTC', '2026-11-26 11:36:44.416858+00');
INSERT INTO imagen_calls VALUES ('pi-00000000000000000000000000000001', 'f5289c07f5f01add9958bcbe1db37cd3caeaa439aefb6fd0623a704d50727e36', 1, 'first', '62d577768e2e48baab0c199680fc5ece', 'answered', true, 106000, 208001, 'reply', 'google/imagen4/preview', '2025-11', NULL, 1, 2, '7', 200, NULL, 'inf-1', 'req-1', '2026-11-25 22:40:08.305037+00', '2026-11-25 22:40:08.36175+00', 'aimlapi', 'https://api.aimlapi.com', NULL, NULL, NULL);
INSERT INTO imagen_calls VALUES ('pi-00000000000000000000000000000002', '3969220f26db6f9147a8ff8391bddedd7ac0391fcdfcc919ac6d7e16522938d0', 1, 'first', '62d577768e2e48baab0c199680fc5ece', 'answered', true, 106000, 104000, 'price list', 'google/imagen4/preview', '2025-11', NULL, 1, 1, '7', NULL, NULL, NULL, NULL, '2026-11-25 22:40:08.478411+00', '2026-11-25 22:40:08.481447+00', 'aimlapi', 'https://api.aimlapi.com', NULL, NULL, NULL);
INSERT INTO imagen_calls VALUES ('pi-00000000000000000000000000000003', '947bbeeb797f89766ef2b5d83a9057dac127a1bcb11a6ad400f1e49eab43ae62', 1, 'first', '62d577768e2e48baab0c199680fc5ece', 'answered', true, 106000, 104000, 'reply', 'google/imagen4/preview', '2025-11', NULL, 1, 1, '7', NULL, NULL, NULL, NULL, '2026-11-25 22:40:08.492084+00', '2026-11-25 22:40:08.522578+00', 'aimlapi', 'https://api.aimlapi.com', NULL, NULL, NULL);
INSERT INTO imagen_calls VALUES ('pi-00000000000000000000000000000004', 'cc2dc731dd5a55f94d6d7bf3aa719068c79627acabce91dad664ba116a2013f3', 1, 'first', '62d577768e2e48baab0c199680fc5ece', 'answered', true, 106000, 104000, 'reply', 'google/imagen4/preview', '2025-11', NULL, 1, 1, '7', NULL, NULL, NULL, NULL, '2026-11-25 22:40:08.542465+00', '2026-11-25 22:40:08.555691+00', 'aimlapi', 'https://api.aimlapi.com', NULL, NULL, NULL);
INSERT INTO imagen_calls VALUES ('pi-00000000000000000000000000000005', 'ed47d7e1b40765b1f2629c90de36427604a1ab0f277a5886e8d04fa605c522f5', 1, 'first', '62d577768e2e48baab0c199680fc5ece', 'refused', true, 106000, 104000, 'reply', 'google/imagen4/preview', '2025-11', NULL, 1, NULL, '7', 400, 'safety: é, 狐', NULL, NULL, '2026-11-25 22:40:08.584469+00', '2026-11-25 22:40:08.64221+00', 'aimlapi', 'https://api.aimlapi.com', NULL, NULL, NULL);
INSERT INTO imagen_calls VALUES ('pi-00000000000000000000000000000006', '00b14719309115e9fc713083f894128cc3bf0267b4a101907e538182a1dd8798', 1, 'first', '62d577768e2e48baab0c199680fc5ece', 'unbilled', false, 106000, 0, NULL, 'google/imagen4/preview', '2025-11', NULL, 1, NULL, '7', 500, '500', NULL, NULL, '2026-11-25 22:40:08.688171+00', '2026-11-25 22:40:08.690433+00', 'aimlapi', 'https://api.aimlapi.com', NULL, NULL, NULL);
INSERT INTO imagen_calls VALUES ('pi-00000000000000000000000000000007', '6b990457d5c8e25151df0f7a47c05d44bb0883211aca27ffbcfaf2c6929b3b4d', 1, 'first', '62d577768e2e48baab0c199680fc5ece', 'unknown', NULL, 106000, NULL, NULL, 'google/imagen4/preview', '2025-11', NULL, 1, NULL, '7', NULL, 'timed out', NULL, 'req-17', '2026-11-25 22:40:08.715472+00', '2026-11-25 22:40:08.746206+00', 'aimlapi', 'https://api.aimlapi.com', NULL, NULL, NULL);
INSERT INTO imagen_calls VALUES ('pi-00000000000000000000000000000008', 'e64804aa2268dbf2ecd6967e9331f6ab73ce5e166211fc8c307caa1e938df3d7', 1, 'first', '62d577768e2e48baab0c199680fc5ece', 'answered', true, 106000, 104000, 'reply', 'google/imagen4/preview', '2025-11', NULL, 1, 1, '7', NULL, NULL, NULL, NULL, '2026-11-25 22:40:08.811501+00', '2026-11-25 22:40:08.93386+00', 'aimlapi', 'https://api.aimlapi.com', NULL, NULL, NULL);
INSERT INTO imagen_calls VALUES ('pi-0000000000000000000000000000000a', 'd1f3c4de3585a70a8dff8b2f1f8f9c32eb02b0113309783c7e2a5da93f058eae', 1, 'first', '62d577768e2e48baab0c199680fc5ece', 'answered', true, 106000, 104000, 'log', 'google/imagen4/preview', '2025-11', NULL, 1, 0, '7', NULL, 'reply: lost', NULL, NULL, '2026-11-25 22:40:08.989712+00', '2026-11-25 22:40:09.038119+00', 'aimlapi', 'https://api.aimlapi.com', NULL, NULL, NULL);
INSERT INTO imagen_calls VALUES ('pi-0000000000000000000000000000000c', '177a5a793994dc8e721a566e830bde9158b9576b20bf882bbd65057293e02f2c', 1, 'first', '62d577768e2e48baab0c199680fc5ece', 'answered', true, 106000, 104000, 'reply', 'google/imagen4/preview', '2025-11', NULL, 1, 1, '7', NULL, NULL, NULL, NULL, '2026-11-25 22:40:09.070854+00', '2026-11-25 22:40:09.075402+00', 'aimlapi', 'https://api.aimlapi.com', NULL, NULL, NULL);
INSERT INTO imagen_calls VALUES ('pi-0000000000000000000000000000000d', 'd0700dba6d736089fda02394939425ddd8178df2ad871aeefd49db9c74f0be19', 1, 'second', '62d577768e2e48baab0c199680fc5ece', 'answered', true, 106000, 70, 'reply', 'google/imagen4/preview', '2025-11', NULL, 1, 1, '7', NULL, NULL, NULL, NULL, '2026-11-25 22:40:09.156152+00', '2026-11-25 22:40:09.160484+00', 'aimlapi', 'https://api.aimlapi.com', NULL, NULL, NULL);
INSERT INTO imagen_calls VALUES ('pi-0000000000000000000000000000000e', '55caf6af6fa3e39c26c4da811b8ac8704e1a4e8c1d5aff30c018a8eb5735874f', 1, 'second', '62d577768e2e48baab0c199680fc5ece', 'refused', true, 106000, 70, 'reply', 'google/imagen4/preview', '2025-11', NULL, 1, 0, '7', NULL, 'too long', NULL, NULL, '2026-11-25 22:40:09.184328+00', '2026-11-25 22:40:09.193762+00', 'aimlapi', 'https://api.aimlapi.com', NULL, NULL, NULL);
INSERT INTO imagen_calls VALUES ('pi-0000000000000000000000000000000b', '34588364d29ee629cb52dc2a5c678c8aafcbd5cd34cd84130fe8553198d94487', 1, 'first', '62d577768e2e48baab0c199680fc5ece', 'unknown', NULL, 106000, NULL, NULL, 'google/imagen4/preview', '2025-11', NULL, 1, NULL, '7', NULL, 'the process stopped while the call was in flight', NULL, NULL, '2026-11-25 22:40:09.058607+00', '2026-11-26 02:16:11.031448+00', 'aimlapi', 'https://api.aimlapi.com', NULL, NULL, NULL);
INSERT INTO imagen_calls VALUES ('pi-00000000000000000000000000000009', 'e64804aa2268dbf2ecd6967e9331f6ab73ce5e166211fc8c307caa1e938df3d7', 2, 'first', '62d577768e2e48baab0c199680fc5ece', 'answered', true, 106000, 104000, 'reply', 'google/imagen4/preview', '2025-11', NULL, 1, 1, '7', NULL, NULL, NULL, NULL, '2026-11-25 22:40:08.885851+00', '2026-11-25 22:40:08.89894+00', 'fal', 'https://queue.fal.run', 'f00d', 6000, NULL);
INSERT INTO imagen_checks VALUES ('pi-00000000000000000000000000000001', 1, 'abababababababababababababababababababababababababababababababab', '["blank"]', 1, '{"blank": "one colour"}', '0123456789abcdef', NULL, NULL, 'checks-1', '2026-11-26 05:11:15.202473+00');
INSERT INTO imagen_checks VALUES ('pi-00000000000000000000000000000001', 0, 'abababababababababababababababababababababababababababababababab', '[]', 0, '{}', '0123456789abcdef', 'g1', 'g1', 'checks-1', '2026-11-26 05:11:15.202473+00');
INSERT INTO imagen_checks VALUES ('pi-00000000000000000000000000000009', 0, 'abababababababababababababababababababababababababababababababab', '["duplicate"]', 1, '{"duplicate": "of the first"}', '0123456789abcdef', 'g1', NULL, 'checks-1', '2026-11-26 05:11:15.202473+00');
INSERT INTO imagen_deliveries VALUES ('pi-00000000000000000000000000000001', 0, 'file:///a', 'pi-00000000000000000000000000000001-0.png', 'file:///a/pi-00000000000000000000000000000001-0.png', 'etag', '2026-11-25 22:40:08.43516+00');
INSERT INTO imagen_deliveries VALUES ('pi-00000000000000000000000000000001', 1, 'file:///a', 'pi-00000000000000000000000000000001-1.png', 'file:///a/pi-00000000000000000000000000000001-1.png', 'etag', '2026-11-25 22:40:08.451282+00');
INSERT INTO imagen_deliveries VALUES ('pi-00000000000000000000000000000001', 0, 's3://bucket/b', 'pi-00000000000000000000000000000001-0.png', 's3://bucket/b/pi-00000000000000000000000000000001-0.png', 'etag', '2026-11-25 22:40:08.47125+00');
INSERT INTO imagen_deliveries VALUES ('pi-00000000000000000000000000000009', 0, 'file:///a', 'pi-00000000000000000000000000000009-0.png', 'file:///a/pi-00000000000000000000000000000009-0.png', 'etag', '2026-11-25 22:40:08.918028+00');
INSERT INTO imagen_handovers VALUES ('zip:selected', 'pi-00000000000000000000000000000001', 0, 'fox.png', 'abababababababababababababababababababababababababababababababab', '2026-11-26 05:11:15.215077+00');
INSERT INTO imagen_history VALUES (1, 'pi-0000000000000000000000000000000b', 'sent', 'unknown', '2026-11-26 02:16:11.032983+00');
INSERT INTO imagen_history VALUES (2, '34588364d29ee629cb52dc2a5c678c8aafcbd5cd34cd84130fe8553198d94487', 'sent', 'unknown', '2026-11-26 02:16:11.035349+00');
INSERT INTO imagen_history VALUES (3, '89c0e2f5ed149259f597117ebc51daf67657d74a9d88edd555bdbf1063f6e1ec', 'claimed', 'planned', '2026-11-26 02:16:11.038999+00');
INSERT INTO imagen_holders VALUES ('62d577768e2e48baab0c199680fc5ece', 'host pid', 'boot/1', 7986, '2026-11-25 22:40:08.218542+00', 1795646408.2179844, '2026-11-26 02:16:11.031448+00');
INSERT INTO imagen_holders VALUES ('33a1a232d8064791b52f477e76afb987', 'vm pid:[4026531836]', 'e0f1b14c-0b13-4d6c-bba5-8c542c63d957/2021646', 5435, '2026-11-26 02:16:11.02541+00', 1795659371.025914, '2026-11-26 02:16:11.047833+00');
INSERT INTO imagen_images VALUES ('pi-00000000000000000000000000000002', 0, '3969220f26db6f9147a8ff8391bddedd7ac0391fcdfcc919ac6d7e16522938d0', 'pending', NULL, 0, 'https://cdn.test/0.png', 'a revised fox', 'image/png', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '2026-11-25 22:40:08.478411+00', NULL, NULL, NULL, NULL);
INSERT INTO imagen_images VALUES ('pi-00000000000000000000000000000003', 0, '947bbeeb797f89766ef2b5d83a9057dac127a1bcb11a6ad400f1e49eab43ae62', 'quarantined', 'safety', 0, 'https://cdn.test/0.png', 'a revised fox', 'image/png', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '2026-11-25 22:40:08.492084+00', NULL, NULL, NULL, NULL);
INSERT INTO imagen_images VALUES ('pi-00000000000000000000000000000004', 0, 'cc2dc731dd5a55f94d6d7bf3aa719068c79627acabce91dad664ba116a2013f3', 'lost', 'because', 1, 'https://cdn.test/0.png', 'a revised fox', 'image/png', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '2026-11-25 22:40:08.542465+00', NULL, NULL, NULL, NULL);
INSERT INTO imagen_images VALUES ('pi-00000000000000000000000000000009', 0, 'e64804aa2268dbf2ecd6967e9331f6ab73ce5e166211fc8c307caa1e938df3d7', 'stored', NULL, 0, 'https://cdn.test/0.png', 'a revised fox', 'image/png', 8, 8, 99, 'abababababababababababababababababababababababababababababababab', 'file:///a', 'pi-00000000000000000000000000000009-0.png', 'file:///a/pi-00000000000000000000000000000009-0.png', '2026-11-25 22:40:08.918028+00', NULL, '2026-11-25 22:40:08.885851+00', NULL, NULL, NULL, NULL);
INSERT INTO imagen_images VALUES ('pi-00000000000000000000000000000008', 0, 'e64804aa2268dbf2ecd6967e9331f6ab73ce5e166211fc8c307caa1e938df3d7', 'pending', NULL, 0, 'https://cdn.test/0.png', 'a revised fox', 'image/png', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '2026-11-25 22:40:08.811501+00', NULL, NULL, NULL, NULL);
INSERT INTO imagen_images VALUES ('pi-0000000000000000000000000000000c', 0, '177a5a793994dc8e721a566e830bde9158b9576b20bf882bbd65057293e02f2c', 'erased', NULL, 0, NULL, NULL, 'image/png', 8, 8, 99, NULL, NULL, NULL, NULL, '2026-11-25 22:40:09.083271+00', NULL, '2026-11-25 22:40:09.070854+00', NULL, NULL, NULL, NULL);
INSERT INTO imagen_images VALUES ('pi-00000000000000000000000000000001', 1, 'f5289c07f5f01add9958bcbe1db37cd3caeaa439aefb6fd0623a704d50727e36', 'stored', NULL, 0, 'https://cdn.test/1.png', 'a revised fox', 'image/png', 8, 8, 99, 'abababababababababababababababababababababababababababababababab', 'file:///a', 'pi-00000000000000000000000000000001-1.png', 'file:///a/pi-00000000000000000000000000000001-1.png', '2026-11-25 22:40:08.451282+00', 'not checked: GIF', '2026-11-25 22:40:08.305037+00', NULL, NULL, NULL, NULL);
INSERT INTO imagen_images VALUES ('pi-00000000000000000000000000000001', 0, 'f5289c07f5f01add9958bcbe1db37cd3caeaa439aefb6fd0623a704d50727e36', 'stored', NULL, 0, 'https://cdn.test/0.png', 'a revised fox', 'image/png', 8, 8, 99, 'abababababababababababababababababababababababababababababababab', 'file:///a', 'pi-00000000000000000000000000000001-0.png', 'file:///a/pi-00000000000000000000000000000001-0.png', '2026-11-25 22:40:08.43516+00', NULL, '2026-11-25 22:40:08.305037+00', NULL, 'Provider', 'trainedAlgorithmicMedia', NULL);
INSERT INTO imagen_items VALUES ('3969220f26db6f9147a8ff8391bddedd7ac0391fcdfcc919ac6d7e16522938d0', 'google/imagen4/preview', 'fox 1', '{"aspect_ratio": "16:9"}', 'may', 1, 'image', NULL, NULL, 'generated', NULL, NULL, '2026-11-25 22:40:08.266375+00', '2026-11-25 22:40:08.481447+00', NULL, NULL);
INSERT INTO imagen_items VALUES ('947bbeeb797f89766ef2b5d83a9057dac127a1bcb11a6ad400f1e49eab43ae62', 'google/imagen4/preview', 'fox 2', '{"aspect_ratio": "16:9"}', 'may', 1, 'image', NULL, NULL, 'lost', NULL, NULL, '2026-11-25 22:40:08.266375+00', '2026-11-25 22:40:08.523367+00', NULL, NULL);
INSERT INTO imagen_items VALUES ('cc2dc731dd5a55f94d6d7bf3aa719068c79627acabce91dad664ba116a2013f3', 'google/imagen4/preview', 'fox 3', '{"aspect_ratio": "16:9"}', 'may', 1, 'image', NULL, NULL, 'lost', NULL, NULL, '2026-11-25 22:40:08.266375+00', '2026-11-25 22:40:08.561288+00', NULL, NULL);
INSERT INTO imagen_items VALUES ('ed47d7e1b40765b1f2629c90de36427604a1ab0f277a5886e8d04fa605c522f5', 'google/imagen4/preview', 'fox 4', '{"aspect_ratio": "16:9"}', 'may', 1, 'image', NULL, NULL, 'refused', 'safety: é, 狐', NULL, '2026-11-25 22:40:08.266375+00', '2026-11-25 22:40:08.64221+00', NULL, NULL);
INSERT INTO imagen_items VALUES ('00b14719309115e9fc713083f894128cc3bf0267b4a101907e538182a1dd8798', 'google/imagen4/preview', 'fox 5', '{"aspect_ratio": "16:9"}', 'may', 1, 'image', NULL, NULL, 'failed', '500', NULL, '2026-11-25 22:40:08.266375+00', '2026-11-25 22:40:08.690433+00', NULL, NULL);
INSERT INTO imagen_items VALUES ('6b990457d5c8e25151df0f7a47c05d44bb0883211aca27ffbcfaf2c6929b3b4d', 'google/imagen4/preview', 'fox 6', '{"aspect_ratio": "16:9"}', 'may', 1, 'image', NULL, NULL, 'unknown', 'timed out', NULL, '2026-11-25 22:40:08.266375+00', '2026-11-25 22:40:08.746206+00', NULL, NULL);
INSERT INTO imagen_items VALUES ('e64804aa2268dbf2ecd6967e9331f6ab73ce5e166211fc8c307caa1e938df3d7', 'google/imagen4/preview', 'fox 7', '{"aspect_ratio": "16:9"}', 'may', 1, 'image', NULL, NULL, 'generated', NULL, NULL, '2026-11-25 22:40:08.266375+00', '2026-11-25 22:40:08.93386+00', NULL, NULL);
INSERT INTO imagen_items VALUES ('d1f3c4de3585a70a8dff8b2f1f8f9c32eb02b0113309783c7e2a5da93f058eae', 'google/imagen4/preview', 'fox 8', '{"aspect_ratio": "16:9"}', 'may', 1, 'image', NULL, NULL, 'lost', 'reply: lost', NULL, '2026-11-25 22:40:08.266375+00', '2026-11-25 22:40:09.038119+00', NULL, NULL);
INSERT INTO imagen_items VALUES ('177a5a793994dc8e721a566e830bde9158b9576b20bf882bbd65057293e02f2c', 'google/imagen4/preview', '', '{}', 'may', 1, 'image', NULL, NULL, 'erased', 'erased on request', NULL, '2026-11-25 22:40:08.266375+00', '2026-11-25 22:40:09.126183+00', NULL, NULL);
INSERT INTO imagen_items VALUES ('7250ac369f02ea80627e8ff4653ebf39314442a1e0e91b371d11ee8e1808e4cf', 'google/imagen4/preview', 'fox 12', '{"aspect_ratio": "16:9"}', 'may', 1, 'image', NULL, NULL, 'planned', NULL, NULL, '2026-11-25 22:40:08.266375+00', '2026-11-25 22:40:08.266375+00', NULL, NULL);
INSERT INTO imagen_items VALUES ('25400faae5d86881802f1366f7a964c90b88942fd423da07f35ecbfc1dcbc956', 'google/imagen4/preview', 'fox 13', '{"aspect_ratio": "16:9"}', 'may', 1, 'image', NULL, NULL, 'planned', NULL, NULL, '2026-11-25 22:40:08.266375+00', '2026-11-25 22:40:08.266375+00', NULL, NULL);
INSERT INTO imagen_items VALUES ('d0700dba6d736089fda02394939425ddd8178df2ad871aeefd49db9c74f0be19', 'openai/gpt-4o-mini', 'owl 0', '{"brief": "calm", "limit": 400}', '', 1, 'rewrite', NULL, 1, 'delivered', NULL, NULL, '2026-11-25 22:40:09.14757+00', '2026-11-25 22:40:09.160484+00', NULL, NULL);
INSERT INTO imagen_items VALUES ('55caf6af6fa3e39c26c4da811b8ac8704e1a4e8c1d5aff30c018a8eb5735874f', 'openai/gpt-4o-mini', 'owl 1', '{"brief": "calm", "limit": 400}', '', 1, 'rewrite', NULL, 1, 'refused', 'too long', NULL, '2026-11-25 22:40:09.14757+00', '2026-11-25 22:40:09.193762+00', NULL, NULL);
INSERT INTO imagen_items VALUES ('50ca9f67ce91951bdab65b1c9a6bb9614f05604a440b19473d3c52637ad03866', 'openai/gpt-4o-mini', 'owl 2', '{"brief": "calm", "limit": 400}', '', 1, 'rewrite', NULL, 1, 'planned', NULL, NULL, '2026-11-25 22:40:09.14757+00', '2026-11-25 22:40:09.14757+00', NULL, NULL);
INSERT INTO imagen_items VALUES ('80bd7f6736048b37dfe9bd01c6d4f60157725818ca1a5ccf4fe969fd7e7f9a2e', 'google/imagen4/preview', 'owl 0', '{}', 'june', 1, 'image', 'd0700dba6d736089fda02394939425ddd8178df2ad871aeefd49db9c74f0be19', 1, 'planned', NULL, NULL, '2026-11-25 22:40:09.14757+00', '2026-11-25 22:40:09.14757+00', NULL, NULL);
INSERT INTO imagen_items VALUES ('9237386dea4146a70dd6c2811b55a3efca58bf64b133ee8a77740c73b0a18066', 'google/imagen4/preview', 'owl 1', '{}', 'june', 1, 'image', '55caf6af6fa3e39c26c4da811b8ac8704e1a4e8c1d5aff30c018a8eb5735874f', 1, 'planned', NULL, NULL, '2026-11-25 22:40:09.14757+00', '2026-11-25 22:40:09.14757+00', NULL, NULL);
INSERT INTO imagen_items VALUES ('9b28d26dc95c3cd2475ca270deffc550c5dea0c54cfe8b708daa834270ba1841', 'google/imagen4/preview', 'owl 2', '{}', 'june', 1, 'image', '50ca9f67ce91951bdab65b1c9a6bb9614f05604a440b19473d3c52637ad03866', 1, 'planned', NULL, NULL, '2026-11-25 22:40:09.14757+00', '2026-11-25 22:40:09.14757+00', NULL, NULL);
INSERT INTO imagen_items VALUES ('34588364d29ee629cb52dc2a5c678c8aafcbd5cd34cd84130fe8553198d94487', 'google/imagen4/preview', 'fox 9', '{"aspect_ratio": "16:9"}', 'may', 1, 'image', NULL, NULL, 'unknown', 'the process stopped while the call was in flight', NULL, '2026-11-25 22:40:08.266375+00', '2026-11-26 02:16:11.031448+00', NULL, NULL);
INSERT INTO imagen_items VALUES ('89c0e2f5ed149259f597117ebc51daf67657d74a9d88edd555bdbf1063f6e1ec', 'google/imagen4/preview', 'fox 10', '{"aspect_ratio": "16:9"}', 'may', 1, 'image', NULL, NULL, 'planned', NULL, NULL, '2026-11-25 22:40:08.266375+00', '2026-11-26 02:16:11.031448+00', NULL, NULL);
INSERT INTO imagen_items VALUES ('f5289c07f5f01add9958bcbe1db37cd3caeaa439aefb6fd0623a704d50727e36', 'google/imagen4/preview', 'fox 0', '{"aspect_ratio": "16:9"}', 'may', 1, 'image', NULL, NULL, 'delivered', NULL, NULL, '2026-11-25 22:40:08.266375+00', '2026-11-25 22:40:08.451872+00', '{"image": "cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd"}', NULL);
INSERT INTO imagen_marks VALUES ('file:///a', 3);
INSERT INTO imagen_marks VALUES ('s3://bucket/b', 40);
INSERT INTO imagen_meta VALUES ('ledger_id', '5acc3abfdf914d4eb41f0ba4e7d75cc5');
INSERT INTO imagen_meta VALUES ('api_origin', 'https://api.aimlapi.com');
INSERT INTO imagen_meta VALUES ('schema_version', '17');
INSERT INTO imagen_quotas VALUES ('k', 'google/imagen4/preview', 60, 1, 0.5, 0, 0, 0, 0);
INSERT INTO imagen_reviews VALUES ('pi-00000000000000000000000000000009', 0, 'none', NULL, 2, '2026-11-26 05:11:15.193008+00', 'ann', '2026-11-26 05:11:15.193008+00', NULL, NULL, 'abababababababababababababababababababababababababababababababab', NULL);
INSERT INTO imagen_reviews VALUES ('pi-00000000000000000000000000000001', 0, 'approved', '2026-11-26 05:11:15.193008+00', 4, '2026-11-26 05:11:15.193008+00', 'bob', '2026-11-26 05:11:15.193008+00', NULL, 'for the cover', 'abababababababababababababababababababababababababababababababab', '2026-11-26 05:11:15.193008+00');
INSERT INTO imagen_reviews VALUES ('pi-00000000000000000000000000000001', 1, 'rejected', '2026-11-26 05:11:15.193008+00', 0, NULL, 'bob', '2026-11-26 05:11:15.193008+00', 'six fingers', 'too dark', 'abababababababababababababababababababababababababababababababab', '2026-11-26 04:11:15.193008+00');
INSERT INTO imagen_revision_requests VALUES (1, 'c36d37a84cd44f169d464ce9412df9e5', '15ca1b9a209a2cd6c429dc021846c6770a353c15b5e28dd6edabe7ce2ccb3a1f', 'bob', '2026-11-26 05:11:15.210276+00', false);
INSERT INTO imagen_revisions VALUES ('15ca1b9a209a2cd6c429dc021846c6770a353c15b5e28dd6edabe7ce2ccb3a1f', 'f5289c07f5f01add9958bcbe1db37cd3caeaa439aefb6fd0623a704d50727e36', 2, 'f5289c07f5f01add9958bcbe1db37cd3caeaa439aefb6fd0623a704d50727e36', 'pi-00000000000000000000000000000001', 1, 'seed', 'google/imagen4/preview', 'a red fox', '{}', '', '2026-11-26 05:11:15.210276+00');
INSERT INTO imagen_rewrites VALUES ('d0700dba6d736089fda02394939425ddd8178df2ad871aeefd49db9c74f0be19', 'pi-0000000000000000000000000000000d', 'a better owl', '2026-11-25 22:40:09.160484+00');
INSERT INTO imagen_run_items VALUES ('first', 0, 'f5289c07f5f01add9958bcbe1db37cd3caeaa439aefb6fd0623a704d50727e36', 'prompts.txt', 1, '{"n": 0}', '["red"]', false);
INSERT INTO imagen_run_items VALUES ('first', 1, '3969220f26db6f9147a8ff8391bddedd7ac0391fcdfcc919ac6d7e16522938d0', 'prompts.txt', 2, '{"n": 1}', '["red"]', false);
INSERT INTO imagen_run_items VALUES ('first', 2, '947bbeeb797f89766ef2b5d83a9057dac127a1bcb11a6ad400f1e49eab43ae62', 'prompts.txt', 3, '{"n": 2}', '["red"]', false);
INSERT INTO imagen_run_items VALUES ('first', 3, 'cc2dc731dd5a55f94d6d7bf3aa719068c79627acabce91dad664ba116a2013f3', 'prompts.txt', 4, '{"n": 3}', '["red"]', false);
INSERT INTO imagen_run_items VALUES ('first', 4, 'ed47d7e1b40765b1f2629c90de36427604a1ab0f277a5886e8d04fa605c522f5', 'prompts.txt', 5, '{"n": 4}', '["red"]', false);
INSERT INTO imagen_run_items VALUES ('first', 5, '00b14719309115e9fc713083f894128cc3bf0267b4a101907e538182a1dd8798', 'prompts.txt', 6, '{"n": 5}', '["red"]', false);
INSERT INTO imagen_run_items VALUES ('first', 6, '6b990457d5c8e25151df0f7a47c05d44bb0883211aca27ffbcfaf2c6929b3b4d', 'prompts.txt', 7, '{"n": 6}', '["red"]', false);
INSERT INTO imagen_run_items VALUES ('first', 7, 'e64804aa2268dbf2ecd6967e9331f6ab73ce5e166211fc8c307caa1e938df3d7', 'prompts.txt', 8, '{"n": 7}', '["red"]', false);
INSERT INTO imagen_run_items VALUES ('first', 8, 'd1f3c4de3585a70a8dff8b2f1f8f9c32eb02b0113309783c7e2a5da93f058eae', 'prompts.txt', 9, '{"n": 8}', '["red"]', false);
INSERT INTO imagen_run_items VALUES ('first', 9, '34588364d29ee629cb52dc2a5c678c8aafcbd5cd34cd84130fe8553198d94487', 'prompts.txt', 10, '{"n": 9}', '["red"]', false);
INSERT INTO imagen_run_items VALUES ('first', 10, '89c0e2f5ed149259f597117ebc51daf67657d74a9d88edd555bdbf1063f6e1ec', 'prompts.txt', 11, '{"n": 10}', '["red"]', false);
INSERT INTO imagen_run_items VALUES ('first', 11, '177a5a793994dc8e721a566e830bde9158b9576b20bf882bbd65057293e02f2c', '', 12, '{}', '[]', false);
INSERT INTO imagen_run_items VALUES ('first', 12, '7250ac369f02ea80627e8ff4653ebf39314442a1e0e91b371d11ee8e1808e4cf', 'prompts.txt', 13, '{"n": 12}', '["red"]', false);
INSERT INTO imagen_run_items VALUES ('first', 13, '25400faae5d86881802f1366f7a964c90b88942fd423da07f35ecbfc1dcbc956', 'prompts.txt', 14, '{"n": 13}', '["red"]', false);
INSERT INTO imagen_run_items VALUES ('second', 0, 'f5289c07f5f01add9958bcbe1db37cd3caeaa439aefb6fd0623a704d50727e36', 'more.txt', 1, '{}', '[]', true);
INSERT INTO imagen_run_items VALUES ('second', 1, '80bd7f6736048b37dfe9bd01c6d4f60157725818ca1a5ccf4fe969fd7e7f9a2e', 'more.txt', 2, '{}', '[]', false);
INSERT INTO imagen_run_items VALUES ('second', 2, '9237386dea4146a70dd6c2811b55a3efca58bf64b133ee8a77740c73b0a18066', 'more.txt', 3, '{}', '[]', false);
INSERT INTO imagen_run_items VALUES ('second', 3, '9b28d26dc95c3cd2475ca270deffc550c5dea0c54cfe8b708daa834270ba1841', 'more.txt', 4, '{}', '[]', false);
INSERT INTO imagen_runs VALUES ('first', '62d577768e2e48baab0c199680fc5ece', NULL, 'swift-fox', 'http://localhost/runs/1', 'google/imagen4/preview', '{"aspect_ratio": "16:9"}', NULL, 'file:///a', '', '{"team": "spring"}', 100000000, 212000, 1040001, '2026-11-25 22:40:08.235511+00', NULL, NULL, NULL, NULL);
INSERT INTO imagen_runs VALUES ('second', '62d577768e2e48baab0c199680fc5ece', NULL, 'swift-fox', 'http://localhost/runs/1', 'google/imagen4/preview', '{}', NULL, 'file:///a', 'june', '{"team": "spring"}', NULL, 0, 140, '2026-11-25 22:40:09.146056+00', '2026-11-25 22:40:09.200979+00', 'Incomplete', NULL, NULL);
INSERT INTO imagen_verdicts VALUES (1, 'fb62090b1b5c47d6afb5434510d6386e', 'pi-00000000000000000000000000000001', 0, 'abababababababababababababababababababababababababababababababab', 'ann', '2026-11-26 05:11:15.193008+00', 'approved', 4, NULL, NULL, '2026-11-26 05:11:15.193008+00');
INSERT INTO imagen_verdicts VALUES (2, '84b63b14f6214f4da044bcf0c1799d1e', 'pi-00000000000000000000000000000001', 1, 'abababababababababababababababababababababababababababababababab', 'bob', '2026-11-26 05:11:15.193008+00', 'rejected', NULL, 'six fingers', NULL, '2026-11-26 05:11:15.193008+00');
INSERT INTO imagen_verdicts VALUES (3, '207f464077d34473897c461a7beec88d', 'pi-00000000000000000000000000000001', 0, 'abababababababababababababababababababababababababababababababab', 'bob', '2026-11-26 05:11:15.193008+00', NULL, NULL, NULL, 'for the cover', '2026-11-26 05:11:15.193008+00');
INSERT INTO imagen_verdicts VALUES (4, '5028e422a3364a4a87c03d3e4ca4f77a', 'pi-00000000000000000000000000000009', 0, 'abababababababababababababababababababababababababababababababab', 'ann', '2026-11-26 05:11:15.193008+00', NULL, 2, NULL, NULL, '2026-11-26 05:11:15.193008+00');
INSERT INTO imagen_verdicts VALUES (5, '375a20f8d0da4ca795df65a988b62e7f', 'pi-00000000000000000000000000000001', 1, 'abababababababababababababababababababababababababababababababab', 'cem', '2026-11-26 04:11:15.193008+00', NULL, NULL, NULL, 'too dark', '2026-11-26 14:56:44.939538+00');
SELECT pg_catalog.setval('imagen_archive_parts_number_seq', 1, false);
SELECT pg_catalog.setval('imagen_history_number_seq', 3, true);
SELECT pg_catalog.setval('imagen_revision_requests_number_seq', 1, true);
SELECT pg_catalog.setval('imagen_verdicts_number_seq', 5, true);
ALTER TABLE ONLY imagen_accounts
    ADD CONSTRAINT imagen_accounts_pkey PRIMARY KEY (provider);
ALTER TABLE ONLY imagen_archive_parts
    ADD CONSTRAINT imagen_archive_parts_archive_id_destinations_stored_quarant_key UNIQUE (archive_id, destinations, stored, quarantined, damaged);
ALTER TABLE ONLY imagen_archive_parts
    ADD CONSTRAINT imagen_archive_parts_pkey PRIMARY KEY (number);
ALTER TABLE ONLY imagen_archive_work
    ADD CONSTRAINT imagen_archive_work_pkey PRIMARY KEY (item_id);
ALTER TABLE ONLY imagen_archived_calls
    ADD CONSTRAINT imagen_archived_calls_pkey PRIMARY KEY (archive_id, run_id, provider, origin, key_fingerprint, outcome, billed, item_state, sent_from);
ALTER TABLE ONLY imagen_archived_rows
    ADD CONSTRAINT imagen_archived_rows_pkey PRIMARY KEY (archive_id, run_id, item_state);
ALTER TABLE ONLY imagen_archives
    ADD CONSTRAINT imagen_archives_pkey PRIMARY KEY (id);
ALTER TABLE ONLY imagen_budget_windows
    ADD CONSTRAINT imagen_budget_windows_pkey PRIMARY KEY (period, provider, "window");
ALTER TABLE ONLY imagen_budgets
    ADD CONSTRAINT imagen_budgets_pkey PRIMARY KEY (period, provider);
ALTER TABLE ONLY imagen_calls
    ADD CONSTRAINT imagen_calls_item_id_number_key UNIQUE (item_id, number);
ALTER TABLE ONLY imagen_calls
    ADD CONSTRAINT imagen_calls_pkey PRIMARY KEY (id);
ALTER TABLE ONLY imagen_checks
    ADD CONSTRAINT imagen_checks_pkey PRIMARY KEY (call_id, idx);
ALTER TABLE ONLY imagen_deliveries
    ADD CONSTRAINT imagen_deliveries_pkey PRIMARY KEY (call_id, idx, destination);
ALTER TABLE ONLY imagen_handovers
    ADD CONSTRAINT imagen_handovers_pkey PRIMARY KEY (target, call_id, idx);
ALTER TABLE ONLY imagen_history
    ADD CONSTRAINT imagen_history_pkey PRIMARY KEY (number);
ALTER TABLE ONLY imagen_holders
    ADD CONSTRAINT imagen_holders_pkey PRIMARY KEY (id);
ALTER TABLE ONLY imagen_images
    ADD CONSTRAINT imagen_images_pkey PRIMARY KEY (call_id, idx);
ALTER TABLE ONLY imagen_items
    ADD CONSTRAINT imagen_items_pkey PRIMARY KEY (id);
ALTER TABLE ONLY imagen_marks
    ADD CONSTRAINT imagen_marks_pkey PRIMARY KEY (destination);
ALTER TABLE ONLY imagen_meta
    ADD CONSTRAINT imagen_meta_pkey PRIMARY KEY (key);
ALTER TABLE ONLY imagen_quota_shares
    ADD CONSTRAINT imagen_quota_shares_pkey PRIMARY KEY (id);
ALTER TABLE ONLY imagen_quotas
    ADD CONSTRAINT imagen_quotas_pkey PRIMARY KEY (key, model);
ALTER TABLE ONLY imagen_reviews
    ADD CONSTRAINT imagen_reviews_pkey PRIMARY KEY (call_id, idx);
ALTER TABLE ONLY imagen_revision_requests
    ADD CONSTRAINT imagen_revision_requests_id_key UNIQUE (id);
ALTER TABLE ONLY imagen_revision_requests
    ADD CONSTRAINT imagen_revision_requests_pkey PRIMARY KEY (number);
ALTER TABLE ONLY imagen_revisions
    ADD CONSTRAINT imagen_revisions_pkey PRIMARY KEY (item_id);
ALTER TABLE ONLY imagen_rewrites
    ADD CONSTRAINT imagen_rewrites_pkey PRIMARY KEY (item_id);
ALTER TABLE ONLY imagen_run_items
    ADD CONSTRAINT imagen_run_items_pkey PRIMARY KEY (run_id, "position");
ALTER TABLE ONLY imagen_runs
    ADD CONSTRAINT imagen_runs_pkey PRIMARY KEY (id);
ALTER TABLE ONLY imagen_verdicts
    ADD CONSTRAINT imagen_verdicts_id_key UNIQUE (id);
ALTER TABLE ONLY imagen_verdicts
    ADD CONSTRAINT imagen_verdicts_pkey PRIMARY KEY (number);
CREATE INDEX imagen_archive_work_by_archive ON imagen_archive_work USING btree (archive_id, item_id);
CREATE UNIQUE INDEX imagen_calls_one_in_flight ON imagen_calls USING btree (item_id) WHERE (outcome = 'sent'::text);
CREATE INDEX imagen_checks_by_flags ON imagen_checks USING btree (flagged);
CREATE INDEX imagen_checks_by_group ON imagen_checks USING btree (duplicate_group);
CREATE UNIQUE INDEX imagen_handovers_by_key ON imagen_handovers USING btree (target, key);
CREATE INDEX imagen_images_by_time ON imagen_images USING btree (requested_at, call_id, idx);
CREATE INDEX imagen_revisions_by_parent ON imagen_revisions USING btree (call_id, idx);
CREATE INDEX imagen_run_items_by_item ON imagen_run_items USING btree (run_id, item_id);
CREATE INDEX imagen_verdicts_by_image ON imagen_verdicts USING btree (call_id, idx);
CREATE INDEX ix_imagen_calls_outcome ON imagen_calls USING btree (outcome);
CREATE INDEX ix_imagen_calls_run_id ON imagen_calls USING btree (run_id);
CREATE INDEX ix_imagen_calls_sent_at ON imagen_calls USING btree (sent_at);
CREATE INDEX ix_imagen_images_item_id ON imagen_images USING btree (item_id);
CREATE INDEX ix_imagen_items_edition ON imagen_items USING btree (edition);
CREATE INDEX ix_imagen_items_holder_id ON imagen_items USING btree (holder_id);
CREATE INDEX ix_imagen_items_state ON imagen_items USING btree (state);
CREATE INDEX ix_imagen_reviews_verdict ON imagen_reviews USING btree (verdict);
CREATE INDEX ix_imagen_revision_requests_item_id ON imagen_revision_requests USING btree (item_id);
CREATE INDEX ix_imagen_revisions_root_id ON imagen_revisions USING btree (root_id);
CREATE INDEX ix_imagen_runs_holder_id ON imagen_runs USING btree (holder_id);
CREATE TRIGGER imagen_calls_insert_history AFTER INSERT ON imagen_calls FOR EACH ROW EXECUTE FUNCTION imagen_calls_insert_history();
CREATE TRIGGER imagen_calls_update_history AFTER UPDATE OF outcome ON imagen_calls FOR EACH ROW WHEN ((old.outcome <> new.outcome)) EXECUTE FUNCTION imagen_calls_update_history();
CREATE TRIGGER imagen_items_update_history AFTER UPDATE OF state ON imagen_items FOR EACH ROW WHEN ((old.state <> new.state)) EXECUTE FUNCTION imagen_items_update_history();
