-- A ledger of schema version 1 on postgresql, as prefect-imagen 0.1.0 made it. Frozen: never change it.
CREATE TABLE imagen_calls (
    id TEXT NOT NULL,
    item_id TEXT NOT NULL,
    number INTEGER NOT NULL,
    run_id TEXT NOT NULL,
    holder_id TEXT NOT NULL,
    outcome TEXT NOT NULL,
    billed BOOLEAN,
    reserved BIGINT NOT NULL,
    settled BIGINT,
    cost_source TEXT,
    wire_model TEXT NOT NULL,
    contract TEXT NOT NULL,
    requested INTEGER NOT NULL,
    returned INTEGER,
    seed TEXT,
    http_status INTEGER,
    reason TEXT,
    inference_id TEXT,
    request_id TEXT,
    sent_at TIMESTAMP WITH TIME ZONE NOT NULL,
    ended_at TIMESTAMP WITH TIME ZONE,
    PRIMARY KEY (id),
    UNIQUE (item_id, number)
);
CREATE INDEX ix_imagen_calls_outcome ON imagen_calls (outcome);
CREATE INDEX ix_imagen_calls_run_id ON imagen_calls (run_id);
COMMENT ON COLUMN imagen_calls.id IS 'also the X-Client-Request-Id';
COMMENT ON COLUMN imagen_calls.billed IS 'null: not known';
COMMENT ON COLUMN imagen_calls.cost_source IS 'reply, or price list where the reply names no cost';
COMMENT ON COLUMN imagen_calls.requested IS 'images asked for';
COMMENT ON COLUMN imagen_calls.seed IS 'sent; else as the reply names it; may exceed 64 bits';
CREATE TABLE imagen_deliveries (
    call_id TEXT NOT NULL,
    idx INTEGER NOT NULL,
    destination TEXT NOT NULL,
    key TEXT NOT NULL,
    uri TEXT NOT NULL,
    etag TEXT,
    stored_at TIMESTAMP WITH TIME ZONE NOT NULL,
    PRIMARY KEY (call_id, idx, destination)
);
CREATE TABLE imagen_holders (
    id TEXT NOT NULL,
    host TEXT NOT NULL,
    boot TEXT NOT NULL,
    pid INTEGER NOT NULL,
    started_at TIMESTAMP WITH TIME ZONE NOT NULL,
    heartbeat DOUBLE PRECISION NOT NULL,
    ended_at TIMESTAMP WITH TIME ZONE,
    PRIMARY KEY (id)
);
CREATE TABLE imagen_images (
    call_id TEXT NOT NULL,
    idx INTEGER NOT NULL,
    item_id TEXT NOT NULL,
    state TEXT NOT NULL,
    reason TEXT,
    attempts INTEGER NOT NULL,
    source_url TEXT,
    revised_prompt TEXT,
    content_type TEXT,
    width INTEGER,
    height INTEGER,
    bytes BIGINT,
    sha256 TEXT,
    destination TEXT,
    key TEXT,
    uri TEXT,
    stored_at TIMESTAMP WITH TIME ZONE,
    PRIMARY KEY (call_id, idx)
);
CREATE INDEX ix_imagen_images_item_id ON imagen_images (item_id);
CREATE TABLE imagen_items (
    id TEXT NOT NULL,
    model TEXT NOT NULL,
    prompt TEXT NOT NULL,
    parameters TEXT NOT NULL,
    edition TEXT NOT NULL,
    repeat INTEGER NOT NULL,
    state TEXT NOT NULL,
    reason TEXT,
    holder_id TEXT,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE NOT NULL,
    PRIMARY KEY (id)
);
CREATE INDEX ix_imagen_items_holder_id ON imagen_items (holder_id);
CREATE INDEX ix_imagen_items_state ON imagen_items (state);
CREATE TABLE imagen_meta (
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (key)
);
CREATE TABLE imagen_run_items (
    run_id TEXT NOT NULL,
    position INTEGER NOT NULL,
    item_id TEXT NOT NULL,
    source TEXT NOT NULL,
    line INTEGER NOT NULL,
    row TEXT NOT NULL,
    choices TEXT NOT NULL,
    owned BOOLEAN NOT NULL,
    PRIMARY KEY (run_id, position)
);
CREATE INDEX imagen_run_items_by_item ON imagen_run_items (run_id, item_id);
CREATE TABLE imagen_runs (
    id TEXT NOT NULL,
    holder_id TEXT NOT NULL,
    flow_run_id TEXT,
    flow_run_name TEXT,
    model TEXT NOT NULL,
    parameters TEXT NOT NULL,
    destination TEXT,
    edition TEXT NOT NULL,
    tags TEXT NOT NULL,
    budget BIGINT,
    reserved BIGINT NOT NULL,
    spent BIGINT NOT NULL,
    started_at TIMESTAMP WITH TIME ZONE NOT NULL,
    ended_at TIMESTAMP WITH TIME ZONE,
    outcome TEXT,
    PRIMARY KEY (id)
);
CREATE INDEX ix_imagen_runs_holder_id ON imagen_runs (holder_id);

CREATE VIEW catalog AS
SELECT
    im.call_id || '-' || im.idx        AS image_id,
    im.item_id                         AS item_id,
    im.state                           AS state,
    im.uri                             AS uri,
    im.destination                     AS destination,
    im.key                             AS object_key,
    i.model                            AS model,
    i.prompt                           AS prompt,
    im.revised_prompt                  AS revised_prompt,
    i.parameters                       AS parameters,
    c.seed                             AS seed,
    i.edition                          AS edition,
    i.repeat                           AS repeat_number,
    im.idx                             AS image_index,
    c.requested                        AS images_requested,
    c.returned                         AS images_returned,
    im.content_type                    AS content_type,
    im.width                           AS width,
    im.height                          AS height,
    im.bytes                           AS bytes,
    im.sha256                          AS sha256,
    (c.settled / c.returned + CASE WHEN (SELECT COUNT(*) FROM imagen_images e WHERE e.call_id = im.call_id AND e.idx < im.idx) < c.settled % c.returned THEN 1 ELSE 0 END)                   AS cost_credits,
    (c.settled / c.returned + CASE WHEN (SELECT COUNT(*) FROM imagen_images e WHERE e.call_id = im.call_id AND e.idx < im.idx) < c.settled % c.returned THEN 1 ELSE 0 END) / 2000000.0       AS cost_usd,
    c.cost_source                      AS cost_source,
    c.sent_at                          AS requested_at,
    c.ended_at                         AS answered_at,
    im.stored_at                       AS stored_at,
    im.reason                          AS reason,
    im.source_url                      AS source_url,
    c.id                               AS client_request_id,
    c.inference_id                     AS inference_id,
    c.request_id                       AS provider_request_id,
    c.number                           AS call_number,
    c.wire_model                       AS wire_model,
    c.contract                         AS contract,
    c.run_id                           AS run_id,
    r.flow_run_id                      AS flow_run_id,
    r.flow_run_name                    AS flow_run_name,
    r.tags                             AS tags,
    (SELECT ri.source FROM imagen_run_items ri WHERE ri.run_id = c.run_id AND ri.item_id = im.item_id
      ORDER BY ri.position LIMIT 1)    AS source_file,
    (SELECT ri.line FROM imagen_run_items ri WHERE ri.run_id = c.run_id AND ri.item_id = im.item_id
      ORDER BY ri.position LIMIT 1)    AS source_line,
    (SELECT ri.row FROM imagen_run_items ri WHERE ri.run_id = c.run_id AND ri.item_id = im.item_id
      ORDER BY ri.position LIMIT 1)    AS source_row,
    (SELECT m.value FROM imagen_meta m WHERE m.key = 'api_origin') AS api_origin
FROM imagen_images im
JOIN imagen_calls c ON c.id = im.call_id
JOIN imagen_items i ON i.id = im.item_id
LEFT JOIN imagen_runs r ON r.id = c.run_id;

INSERT INTO imagen_calls (id, item_id, "number", run_id, holder_id, outcome, billed, reserved, settled, cost_source, wire_model, contract, requested, returned, seed, http_status, reason, inference_id, request_id, sent_at, ended_at) VALUES ('pi-b80c4922e41748a3b02de4d3827ed25d', '29a561af63ba6b37c68c48723716f4cefe00800f06e9074c4873a0fc1291db65', 1, 'run', '7f311c5ee31a41c781738bac3a3a6324', 'answered', true, 106000, 208001, 'reply', 'google/imagen4/preview', '2025-11', 1, 2, '7', NULL, NULL, NULL, NULL, '2026-11-25 09:49:00.193935+00', '2026-11-25 09:49:00.197327+00');
INSERT INTO imagen_calls (id, item_id, "number", run_id, holder_id, outcome, billed, reserved, settled, cost_source, wire_model, contract, requested, returned, seed, http_status, reason, inference_id, request_id, sent_at, ended_at) VALUES ('pi-15275e29030243c68d7f737376674471', '431add6bfe98feb933b101c31c4663f8d916872516926f9b29f802d8feafab4a', 1, 'run', '7f311c5ee31a41c781738bac3a3a6324', 'answered', true, 106000, 104000, 'reply', 'google/imagen4/preview', '2025-11', 1, 1, '7', NULL, NULL, NULL, NULL, '2026-11-25 09:49:00.212105+00', '2026-11-25 09:49:00.213573+00');
INSERT INTO imagen_calls (id, item_id, "number", run_id, holder_id, outcome, billed, reserved, settled, cost_source, wire_model, contract, requested, returned, seed, http_status, reason, inference_id, request_id, sent_at, ended_at) VALUES ('pi-acddc1f91d52475699bacc977ef8e91c', '63d13daf6057a1513f9a90ae7bae0431b6782d786506be7a22901cc40f9cd2ca', 1, 'run', '7f311c5ee31a41c781738bac3a3a6324', 'answered', true, 106000, 104000, 'reply', 'google/imagen4/preview', '2025-11', 1, 1, '7', NULL, NULL, NULL, NULL, '2026-11-25 09:49:00.218459+00', '2026-11-25 09:49:00.221114+00');
INSERT INTO imagen_calls (id, item_id, "number", run_id, holder_id, outcome, billed, reserved, settled, cost_source, wire_model, contract, requested, returned, seed, http_status, reason, inference_id, request_id, sent_at, ended_at) VALUES ('pi-3e9c0fafeef14f26aa47e978af84e8c7', '1ddb9d9e5c93f2bb5ded436644f1d098a1b9619879ab69ade8a7fe20b0077892', 1, 'run', '7f311c5ee31a41c781738bac3a3a6324', 'refused', true, 106000, 104000, 'reply', 'google/imagen4/preview', '2025-11', 1, NULL, '7', NULL, 'safety: é, 狐', NULL, NULL, '2026-11-25 09:49:00.227130+00', '2026-11-25 09:49:00.228593+00');
INSERT INTO imagen_calls (id, item_id, "number", run_id, holder_id, outcome, billed, reserved, settled, cost_source, wire_model, contract, requested, returned, seed, http_status, reason, inference_id, request_id, sent_at, ended_at) VALUES ('pi-53728437c485488b846f1e563c83381f', '687131c13e77fc1ccfb557029835563dc153766cca57a5e7ad59511cd63d0083', 1, 'run', '7f311c5ee31a41c781738bac3a3a6324', 'unknown', NULL, 106000, NULL, NULL, 'google/imagen4/preview', '2025-11', 1, NULL, '7', NULL, 'timed out after 120 s', NULL, 'req-17', '2026-11-25 09:49:00.233696+00', '2026-11-25 09:49:00.235217+00');
INSERT INTO imagen_calls (id, item_id, "number", run_id, holder_id, outcome, billed, reserved, settled, cost_source, wire_model, contract, requested, returned, seed, http_status, reason, inference_id, request_id, sent_at, ended_at) VALUES ('pi-8701c495c87545c2997ccd2e965b6d74', 'a1a3e8145e8caa92f10ac4fda72ee18d5b34cb859795f8efa6556fe29557d9f4', 1, 'run', '7f311c5ee31a41c781738bac3a3a6324', 'unbilled', false, 106000, 0, NULL, 'google/imagen4/preview', '2025-11', 1, NULL, '7', 429, '429', NULL, NULL, '2026-11-25 09:49:00.239264+00', '2026-11-25 09:49:00.240705+00');
INSERT INTO imagen_calls (id, item_id, "number", run_id, holder_id, outcome, billed, reserved, settled, cost_source, wire_model, contract, requested, returned, seed, http_status, reason, inference_id, request_id, sent_at, ended_at) VALUES ('pi-0d3987643af54196a9ab3d557d9f3b05', '695aef944c053bf287f054201ecca21faebfd6a9a4b88ff1f9449aca08f0154b', 1, 'run', '7f311c5ee31a41c781738bac3a3a6324', 'sent', NULL, 106000, NULL, NULL, 'google/imagen4/preview', '2025-11', 1, NULL, '7', NULL, NULL, NULL, NULL, '2026-11-25 09:49:00.247074+00', NULL);
INSERT INTO imagen_deliveries (call_id, "idx", destination, "key", uri, etag, stored_at) VALUES ('pi-b80c4922e41748a3b02de4d3827ed25d', 0, 'file:///a', 'pi-b80c4922e41748a3b02de4d3827ed25d-0.png', 'file:///a/pi-b80c4922e41748a3b02de4d3827ed25d-0.png', NULL, '2026-11-25 09:49:00.206434+00');
INSERT INTO imagen_deliveries (call_id, "idx", destination, "key", uri, etag, stored_at) VALUES ('pi-b80c4922e41748a3b02de4d3827ed25d', 1, 'file:///a', 'pi-b80c4922e41748a3b02de4d3827ed25d-1.png', 'file:///a/pi-b80c4922e41748a3b02de4d3827ed25d-1.png', NULL, '2026-11-25 09:49:00.209117+00');
INSERT INTO imagen_holders (id, host, boot, pid, started_at, heartbeat, ended_at) VALUES ('7f311c5ee31a41c781738bac3a3a6324', 'host-1', 'boot-1/1', 9925, '2026-11-25 09:49:00.182428+00', 1795000000.5, NULL);
INSERT INTO imagen_images (call_id, "idx", item_id, state, reason, attempts, source_url, revised_prompt, content_type, width, height, bytes, sha256, destination, "key", uri, stored_at) VALUES ('pi-b80c4922e41748a3b02de4d3827ed25d', 0, '29a561af63ba6b37c68c48723716f4cefe00800f06e9074c4873a0fc1291db65', 'stored', NULL, 0, 'https://cdn.test/0.png', NULL, 'image/png', 8, 8, 99, 'abababababababababababababababababababababababababababababababab', 'file:///a', 'pi-b80c4922e41748a3b02de4d3827ed25d-0.png', 'file:///a/pi-b80c4922e41748a3b02de4d3827ed25d-0.png', '2026-11-25 09:49:00.206434+00');
INSERT INTO imagen_images (call_id, "idx", item_id, state, reason, attempts, source_url, revised_prompt, content_type, width, height, bytes, sha256, destination, "key", uri, stored_at) VALUES ('pi-b80c4922e41748a3b02de4d3827ed25d', 1, '29a561af63ba6b37c68c48723716f4cefe00800f06e9074c4873a0fc1291db65', 'stored', NULL, 0, 'https://cdn.test/1.png', NULL, 'image/png', 8, 8, 99, 'abababababababababababababababababababababababababababababababab', 'file:///a', 'pi-b80c4922e41748a3b02de4d3827ed25d-1.png', 'file:///a/pi-b80c4922e41748a3b02de4d3827ed25d-1.png', '2026-11-25 09:49:00.209117+00');
INSERT INTO imagen_images (call_id, "idx", item_id, state, reason, attempts, source_url, revised_prompt, content_type, width, height, bytes, sha256, destination, "key", uri, stored_at) VALUES ('pi-15275e29030243c68d7f737376674471', 0, '431add6bfe98feb933b101c31c4663f8d916872516926f9b29f802d8feafab4a', 'pending', NULL, 0, 'https://cdn.test/0.png', NULL, 'image/png', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO imagen_images (call_id, "idx", item_id, state, reason, attempts, source_url, revised_prompt, content_type, width, height, bytes, sha256, destination, "key", uri, stored_at) VALUES ('pi-acddc1f91d52475699bacc977ef8e91c', 0, '63d13daf6057a1513f9a90ae7bae0431b6782d786506be7a22901cc40f9cd2ca', 'lost', 'because', 1, 'https://cdn.test/0.png', NULL, 'image/png', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO imagen_items (id, model, prompt, parameters, edition, repeat, state, reason, holder_id, created_at, updated_at) VALUES ('29a561af63ba6b37c68c48723716f4cefe00800f06e9074c4873a0fc1291db65', 'google/imagen4/preview', 'a fox in the "snow" 0', '{}', '2025-11', 1, 'delivered', NULL, NULL, '2026-11-25 09:49:00.187270+00', '2026-11-25 09:49:00.209724+00');
INSERT INTO imagen_items (id, model, prompt, parameters, edition, repeat, state, reason, holder_id, created_at, updated_at) VALUES ('431add6bfe98feb933b101c31c4663f8d916872516926f9b29f802d8feafab4a', 'google/imagen4/preview', 'a fox in the "snow" 1', '{}', '2025-11', 1, 'generated', NULL, NULL, '2026-11-25 09:49:00.187270+00', '2026-11-25 09:49:00.213573+00');
INSERT INTO imagen_items (id, model, prompt, parameters, edition, repeat, state, reason, holder_id, created_at, updated_at) VALUES ('63d13daf6057a1513f9a90ae7bae0431b6782d786506be7a22901cc40f9cd2ca', 'google/imagen4/preview', 'a fox in the "snow" 2', '{}', '2025-11', 1, 'lost', NULL, NULL, '2026-11-25 09:49:00.187270+00', '2026-11-25 09:49:00.224874+00');
INSERT INTO imagen_items (id, model, prompt, parameters, edition, repeat, state, reason, holder_id, created_at, updated_at) VALUES ('1ddb9d9e5c93f2bb5ded436644f1d098a1b9619879ab69ade8a7fe20b0077892', 'google/imagen4/preview', 'a fox in the "snow" 3', '{}', '2025-11', 1, 'refused', 'safety: é, 狐', NULL, '2026-11-25 09:49:00.187270+00', '2026-11-25 09:49:00.228593+00');
INSERT INTO imagen_items (id, model, prompt, parameters, edition, repeat, state, reason, holder_id, created_at, updated_at) VALUES ('687131c13e77fc1ccfb557029835563dc153766cca57a5e7ad59511cd63d0083', 'google/imagen4/preview', 'a fox in the "snow" 4', '{}', '2025-11', 1, 'unknown', 'timed out after 120 s', NULL, '2026-11-25 09:49:00.187270+00', '2026-11-25 09:49:00.235217+00');
INSERT INTO imagen_items (id, model, prompt, parameters, edition, repeat, state, reason, holder_id, created_at, updated_at) VALUES ('a1a3e8145e8caa92f10ac4fda72ee18d5b34cb859795f8efa6556fe29557d9f4', 'google/imagen4/preview', 'a fox in the "snow" 5', '{}', '2025-11', 1, 'failed', '429', NULL, '2026-11-25 09:49:00.187270+00', '2026-11-25 09:49:00.240705+00');
INSERT INTO imagen_items (id, model, prompt, parameters, edition, repeat, state, reason, holder_id, created_at, updated_at) VALUES ('24a2306fabbc1d827f8d02f95256e699b70b6d512229fb4c6b2841ccbd53852b', 'google/imagen4/preview', 'a fox in the "snow" 6', '{}', '2025-11', 1, 'claimed', NULL, '7f311c5ee31a41c781738bac3a3a6324', '2026-11-25 09:49:00.187270+00', '2026-11-25 09:49:00.244849+00');
INSERT INTO imagen_items (id, model, prompt, parameters, edition, repeat, state, reason, holder_id, created_at, updated_at) VALUES ('695aef944c053bf287f054201ecca21faebfd6a9a4b88ff1f9449aca08f0154b', 'google/imagen4/preview', 'a fox in the "snow" 7', '{}', '2025-11', 1, 'sent', NULL, '7f311c5ee31a41c781738bac3a3a6324', '2026-11-25 09:49:00.187270+00', '2026-11-25 09:49:00.247074+00');
INSERT INTO imagen_items (id, model, prompt, parameters, edition, repeat, state, reason, holder_id, created_at, updated_at) VALUES ('c2d192e5fa2df1dd5bbbfba6bf0da9032adabb463b38a1550acdeaaeba03c971', 'google/imagen4/preview', 'a fox in the "snow" 8', '{}', '2025-11', 1, 'planned', NULL, NULL, '2026-11-25 09:49:00.187270+00', '2026-11-25 09:49:00.187270+00');
INSERT INTO imagen_meta ("key", value) VALUES ('ledger_id', '7af85de0d4db4a38828b50a55c8df475');
INSERT INTO imagen_meta ("key", value) VALUES ('schema_version', '1');
INSERT INTO imagen_meta ("key", value) VALUES ('api_origin', 'https://api.aimlapi.com');
INSERT INTO imagen_run_items (run_id, position, item_id, source, line, "row", choices, owned) VALUES ('run', 0, '29a561af63ba6b37c68c48723716f4cefe00800f06e9074c4873a0fc1291db65', 'prompts.txt', 1, '{"n": 0}', '[]', false);
INSERT INTO imagen_run_items (run_id, position, item_id, source, line, "row", choices, owned) VALUES ('run', 1, '431add6bfe98feb933b101c31c4663f8d916872516926f9b29f802d8feafab4a', 'prompts.txt', 2, '{"n": 1}', '[]', false);
INSERT INTO imagen_run_items (run_id, position, item_id, source, line, "row", choices, owned) VALUES ('run', 2, '63d13daf6057a1513f9a90ae7bae0431b6782d786506be7a22901cc40f9cd2ca', 'prompts.txt', 3, '{"n": 2}', '[]', false);
INSERT INTO imagen_run_items (run_id, position, item_id, source, line, "row", choices, owned) VALUES ('run', 3, '1ddb9d9e5c93f2bb5ded436644f1d098a1b9619879ab69ade8a7fe20b0077892', 'prompts.txt', 4, '{"n": 3}', '[]', false);
INSERT INTO imagen_run_items (run_id, position, item_id, source, line, "row", choices, owned) VALUES ('run', 4, '687131c13e77fc1ccfb557029835563dc153766cca57a5e7ad59511cd63d0083', 'prompts.txt', 5, '{"n": 4}', '[]', false);
INSERT INTO imagen_run_items (run_id, position, item_id, source, line, "row", choices, owned) VALUES ('run', 5, 'a1a3e8145e8caa92f10ac4fda72ee18d5b34cb859795f8efa6556fe29557d9f4', 'prompts.txt', 6, '{"n": 5}', '[]', false);
INSERT INTO imagen_run_items (run_id, position, item_id, source, line, "row", choices, owned) VALUES ('run', 6, '24a2306fabbc1d827f8d02f95256e699b70b6d512229fb4c6b2841ccbd53852b', 'prompts.txt', 7, '{"n": 6}', '[]', false);
INSERT INTO imagen_run_items (run_id, position, item_id, source, line, "row", choices, owned) VALUES ('run', 7, '695aef944c053bf287f054201ecca21faebfd6a9a4b88ff1f9449aca08f0154b', 'prompts.txt', 8, '{"n": 7}', '[]', false);
INSERT INTO imagen_run_items (run_id, position, item_id, source, line, "row", choices, owned) VALUES ('run', 8, 'c2d192e5fa2df1dd5bbbfba6bf0da9032adabb463b38a1550acdeaaeba03c971', 'prompts.txt', 9, '{"n": 8}', '[]', false);
INSERT INTO imagen_runs (id, holder_id, flow_run_id, flow_run_name, model, parameters, destination, edition, tags, budget, reserved, spent, started_at, ended_at, outcome) VALUES ('run', '7f311c5ee31a41c781738bac3a3a6324', NULL, 'swift-fox', 'google/imagen4/preview', '{}', 'file:///a', '2025-11', '{"campaign": "spring"}', 5000000, 212000, 520001, '2026-11-25 09:49:00.183979+00', NULL, NULL);
