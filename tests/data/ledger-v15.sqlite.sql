-- A ledger of schema version 15 on sqlite: that of version 14, as version 15 brought it there. Frozen: never change it.
CREATE TABLE imagen_accounts (
	provider TEXT NOT NULL, 
	origin TEXT NOT NULL, 
	address TEXT, 
	PRIMARY KEY (provider)
);
INSERT INTO "imagen_accounts" VALUES('aimlapi','https://api.aimlapi.com',NULL);
INSERT INTO "imagen_accounts" VALUES('fal','https://queue.fal.run','https://queue.fal.run');
CREATE TABLE imagen_budget_windows (
	period TEXT NOT NULL, 
	provider TEXT NOT NULL, 
	window TEXT NOT NULL, 
	reserved BIGINT NOT NULL, 
	spent BIGINT NOT NULL, 
	warned BOOLEAN NOT NULL, 
	PRIMARY KEY (period, provider, window)
);
INSERT INTO "imagen_budget_windows" VALUES('day','','2026-11-25',212000,1040141,0);
INSERT INTO "imagen_budget_windows" VALUES('month','','2026-11',212000,1040141,0);
CREATE TABLE imagen_budgets (
	period TEXT NOT NULL, 
	provider TEXT NOT NULL, 
	credits BIGINT NOT NULL, 
	timezone TEXT NOT NULL, 
	set_at DATETIME NOT NULL, 
	PRIMARY KEY (period, provider)
);
INSERT INTO "imagen_budgets" VALUES('day','',1000000000,'Europe/Berlin','2026-11-25 22:40:08.204310');
INSERT INTO "imagen_budgets" VALUES('month','',10000000000,'UTC','2026-11-25 22:40:08.211664');
INSERT INTO "imagen_budgets" VALUES('month','fal',5000000000,'UTC','2026-11-26 11:36:43.332804');
CREATE TABLE "imagen_calls" (
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
	prompt TEXT, 
	requested INTEGER NOT NULL, 
	returned INTEGER, 
	seed TEXT, 
	http_status INTEGER, 
	reason TEXT, 
	inference_id TEXT, 
	request_id TEXT, 
	sent_at DATETIME NOT NULL, 
	ended_at DATETIME, provider TEXT, origin TEXT, key_fingerprint TEXT, expected BIGINT, recovery TEXT, 
	PRIMARY KEY (id), 
	UNIQUE (item_id, number), 
	CONSTRAINT imagen_calls_outcome_is_known CHECK (outcome IN ('sent', 'answered', 'refused', 'unbilled', 'unknown'))
);
INSERT INTO "imagen_calls" VALUES('pi-00000000000000000000000000000001','f5289c07f5f01add9958bcbe1db37cd3caeaa439aefb6fd0623a704d50727e36',1,'first','62d577768e2e48baab0c199680fc5ece','answered',1,106000,208001,'reply','google/imagen4/preview','2025-11',NULL,1,2,'7',200,NULL,'inf-1','req-1','2026-11-25 22:40:08.305037','2026-11-25 22:40:08.361750','aimlapi','https://api.aimlapi.com',NULL,NULL,NULL);
INSERT INTO "imagen_calls" VALUES('pi-00000000000000000000000000000002','3969220f26db6f9147a8ff8391bddedd7ac0391fcdfcc919ac6d7e16522938d0',1,'first','62d577768e2e48baab0c199680fc5ece','answered',1,106000,104000,'price list','google/imagen4/preview','2025-11',NULL,1,1,'7',NULL,NULL,NULL,NULL,'2026-11-25 22:40:08.478411','2026-11-25 22:40:08.481447','aimlapi','https://api.aimlapi.com',NULL,NULL,NULL);
INSERT INTO "imagen_calls" VALUES('pi-00000000000000000000000000000003','947bbeeb797f89766ef2b5d83a9057dac127a1bcb11a6ad400f1e49eab43ae62',1,'first','62d577768e2e48baab0c199680fc5ece','answered',1,106000,104000,'reply','google/imagen4/preview','2025-11',NULL,1,1,'7',NULL,NULL,NULL,NULL,'2026-11-25 22:40:08.492084','2026-11-25 22:40:08.522578','aimlapi','https://api.aimlapi.com',NULL,NULL,NULL);
INSERT INTO "imagen_calls" VALUES('pi-00000000000000000000000000000004','cc2dc731dd5a55f94d6d7bf3aa719068c79627acabce91dad664ba116a2013f3',1,'first','62d577768e2e48baab0c199680fc5ece','answered',1,106000,104000,'reply','google/imagen4/preview','2025-11',NULL,1,1,'7',NULL,NULL,NULL,NULL,'2026-11-25 22:40:08.542465','2026-11-25 22:40:08.555691','aimlapi','https://api.aimlapi.com',NULL,NULL,NULL);
INSERT INTO "imagen_calls" VALUES('pi-00000000000000000000000000000005','ed47d7e1b40765b1f2629c90de36427604a1ab0f277a5886e8d04fa605c522f5',1,'first','62d577768e2e48baab0c199680fc5ece','refused',1,106000,104000,'reply','google/imagen4/preview','2025-11',NULL,1,NULL,'7',400,'safety: é, 狐',NULL,NULL,'2026-11-25 22:40:08.584469','2026-11-25 22:40:08.642210','aimlapi','https://api.aimlapi.com',NULL,NULL,NULL);
INSERT INTO "imagen_calls" VALUES('pi-00000000000000000000000000000006','00b14719309115e9fc713083f894128cc3bf0267b4a101907e538182a1dd8798',1,'first','62d577768e2e48baab0c199680fc5ece','unbilled',0,106000,0,NULL,'google/imagen4/preview','2025-11',NULL,1,NULL,'7',500,'500',NULL,NULL,'2026-11-25 22:40:08.688171','2026-11-25 22:40:08.690433','aimlapi','https://api.aimlapi.com',NULL,NULL,NULL);
INSERT INTO "imagen_calls" VALUES('pi-00000000000000000000000000000007','6b990457d5c8e25151df0f7a47c05d44bb0883211aca27ffbcfaf2c6929b3b4d',1,'first','62d577768e2e48baab0c199680fc5ece','unknown',NULL,106000,NULL,NULL,'google/imagen4/preview','2025-11',NULL,1,NULL,'7',NULL,'timed out',NULL,'req-17','2026-11-25 22:40:08.715472','2026-11-25 22:40:08.746206','aimlapi','https://api.aimlapi.com',NULL,NULL,NULL);
INSERT INTO "imagen_calls" VALUES('pi-00000000000000000000000000000008','e64804aa2268dbf2ecd6967e9331f6ab73ce5e166211fc8c307caa1e938df3d7',1,'first','62d577768e2e48baab0c199680fc5ece','answered',1,106000,104000,'reply','google/imagen4/preview','2025-11',NULL,1,1,'7',NULL,NULL,NULL,NULL,'2026-11-25 22:40:08.811501','2026-11-25 22:40:08.933860','aimlapi','https://api.aimlapi.com',NULL,NULL,NULL);
INSERT INTO "imagen_calls" VALUES('pi-00000000000000000000000000000009','e64804aa2268dbf2ecd6967e9331f6ab73ce5e166211fc8c307caa1e938df3d7',2,'first','62d577768e2e48baab0c199680fc5ece','answered',1,106000,104000,'reply','google/imagen4/preview','2025-11',NULL,1,1,'7',NULL,NULL,NULL,NULL,'2026-11-25 22:40:08.885851','2026-11-25 22:40:08.898940','fal','https://queue.fal.run','f00d',6000,NULL);
INSERT INTO "imagen_calls" VALUES('pi-0000000000000000000000000000000a','d1f3c4de3585a70a8dff8b2f1f8f9c32eb02b0113309783c7e2a5da93f058eae',1,'first','62d577768e2e48baab0c199680fc5ece','answered',1,106000,104000,'log','google/imagen4/preview','2025-11',NULL,1,0,'7',NULL,'reply: lost',NULL,NULL,'2026-11-25 22:40:08.989712','2026-11-25 22:40:09.038119','aimlapi','https://api.aimlapi.com',NULL,NULL,NULL);
INSERT INTO "imagen_calls" VALUES('pi-0000000000000000000000000000000b','34588364d29ee629cb52dc2a5c678c8aafcbd5cd34cd84130fe8553198d94487',1,'first','62d577768e2e48baab0c199680fc5ece','unknown',NULL,106000,NULL,NULL,'google/imagen4/preview','2025-11',NULL,1,NULL,'7',NULL,'the process stopped while the call was in flight',NULL,NULL,'2026-11-25 22:40:09.058607','2026-11-26 02:16:08.300911','aimlapi','https://api.aimlapi.com',NULL,NULL,NULL);
INSERT INTO "imagen_calls" VALUES('pi-0000000000000000000000000000000c','177a5a793994dc8e721a566e830bde9158b9576b20bf882bbd65057293e02f2c',1,'first','62d577768e2e48baab0c199680fc5ece','answered',1,106000,104000,'reply','google/imagen4/preview','2025-11',NULL,1,1,'7',NULL,NULL,NULL,NULL,'2026-11-25 22:40:09.070854','2026-11-25 22:40:09.075402','aimlapi','https://api.aimlapi.com',NULL,NULL,NULL);
INSERT INTO "imagen_calls" VALUES('pi-0000000000000000000000000000000d','d0700dba6d736089fda02394939425ddd8178df2ad871aeefd49db9c74f0be19',1,'second','62d577768e2e48baab0c199680fc5ece','answered',1,106000,70,'reply','google/imagen4/preview','2025-11',NULL,1,1,'7',NULL,NULL,NULL,NULL,'2026-11-25 22:40:09.156152','2026-11-25 22:40:09.160484','aimlapi','https://api.aimlapi.com',NULL,NULL,NULL);
INSERT INTO "imagen_calls" VALUES('pi-0000000000000000000000000000000e','55caf6af6fa3e39c26c4da811b8ac8704e1a4e8c1d5aff30c018a8eb5735874f',1,'second','62d577768e2e48baab0c199680fc5ece','refused',1,106000,70,'reply','google/imagen4/preview','2025-11',NULL,1,0,'7',NULL,'too long',NULL,NULL,'2026-11-25 22:40:09.184328','2026-11-25 22:40:09.193762','aimlapi','https://api.aimlapi.com',NULL,NULL,NULL);
CREATE TABLE imagen_checks (
	call_id TEXT NOT NULL, 
	idx INTEGER NOT NULL, 
	sha256 TEXT, 
	flags TEXT NOT NULL, 
	flagged INTEGER NOT NULL, 
	details TEXT NOT NULL, 
	dhash TEXT, 
	duplicate_group TEXT, 
	run_duplicate_group TEXT, 
	settings TEXT NOT NULL, 
	checked_at DATETIME NOT NULL, 
	PRIMARY KEY (call_id, idx)
);
INSERT INTO "imagen_checks" VALUES('pi-00000000000000000000000000000001',0,'abababababababababababababababababababababababababababababababab','[]',0,'{}','0123456789abcdef','g1','g1','checks-1','2026-11-26 05:11:14.356219');
INSERT INTO "imagen_checks" VALUES('pi-00000000000000000000000000000001',1,'abababababababababababababababababababababababababababababababab','["blank"]',1,'{"blank": "one colour"}','0123456789abcdef',NULL,NULL,'checks-1','2026-11-26 05:11:14.356219');
INSERT INTO "imagen_checks" VALUES('pi-00000000000000000000000000000009',0,'abababababababababababababababababababababababababababababababab','["duplicate"]',1,'{"duplicate": "of the first"}','0123456789abcdef','g1',NULL,'checks-1','2026-11-26 05:11:14.356219');
CREATE TABLE imagen_deliveries (
    call_id TEXT NOT NULL,
    idx INTEGER NOT NULL,
    destination TEXT NOT NULL,
    "key" TEXT NOT NULL,
    uri TEXT NOT NULL,
    etag TEXT,
    stored_at DATETIME NOT NULL,
    PRIMARY KEY (call_id, idx, destination)
);
INSERT INTO "imagen_deliveries" VALUES('pi-00000000000000000000000000000001',0,'file:///a','pi-00000000000000000000000000000001-0.png','file:///a/pi-00000000000000000000000000000001-0.png','etag','2026-11-25 22:40:08.435160');
INSERT INTO "imagen_deliveries" VALUES('pi-00000000000000000000000000000001',1,'file:///a','pi-00000000000000000000000000000001-1.png','file:///a/pi-00000000000000000000000000000001-1.png','etag','2026-11-25 22:40:08.451282');
INSERT INTO "imagen_deliveries" VALUES('pi-00000000000000000000000000000001',0,'s3://bucket/b','pi-00000000000000000000000000000001-0.png','s3://bucket/b/pi-00000000000000000000000000000001-0.png','etag','2026-11-25 22:40:08.471250');
INSERT INTO "imagen_deliveries" VALUES('pi-00000000000000000000000000000009',0,'file:///a','pi-00000000000000000000000000000009-0.png','file:///a/pi-00000000000000000000000000000009-0.png','etag','2026-11-25 22:40:08.918028');
CREATE TABLE imagen_handovers (
	target TEXT NOT NULL, 
	call_id TEXT NOT NULL, 
	idx INTEGER NOT NULL, 
	"key" TEXT NOT NULL, 
	sha256 TEXT NOT NULL, 
	at DATETIME NOT NULL, 
	PRIMARY KEY (target, call_id, idx)
);
INSERT INTO "imagen_handovers" VALUES('zip:selected','pi-00000000000000000000000000000001',0,'fox.png','abababababababababababababababababababababababababababababababab','2026-11-26 05:11:14.364498');
CREATE TABLE imagen_history (
	number INTEGER NOT NULL, 
	subject TEXT NOT NULL, 
	"before" TEXT, 
	"after" TEXT NOT NULL, 
	at DATETIME NOT NULL, 
	PRIMARY KEY (number)
);
INSERT INTO "imagen_history" VALUES(1,'pi-0000000000000000000000000000000b','sent','unknown','2026-11-26 02:16:08.304000');
INSERT INTO "imagen_history" VALUES(2,'34588364d29ee629cb52dc2a5c678c8aafcbd5cd34cd84130fe8553198d94487','sent','unknown','2026-11-26 02:16:08.305000');
INSERT INTO "imagen_history" VALUES(3,'89c0e2f5ed149259f597117ebc51daf67657d74a9d88edd555bdbf1063f6e1ec','claimed','planned','2026-11-26 02:16:08.311000');
CREATE TABLE imagen_holders (
    id TEXT NOT NULL,
    host TEXT NOT NULL,
    boot TEXT NOT NULL,
    pid INTEGER NOT NULL,
    started_at DATETIME NOT NULL,
    heartbeat DOUBLE NOT NULL,
    ended_at DATETIME,
    PRIMARY KEY (id)
);
INSERT INTO "imagen_holders" VALUES('62d577768e2e48baab0c199680fc5ece','host pid','boot/1',7986,'2026-11-25 22:40:08.218542',1.795646408217984438e+09,'2026-11-26 02:16:08.300911');
INSERT INTO "imagen_holders" VALUES('6af0ca440786439195125db14b8f49ed','vm pid:[4026531836]','e0f1b14c-0b13-4d6c-bba5-8c542c63d957/2021646',5435,'2026-11-26 02:16:08.296781',1.7956593682959885597e+09,'2026-11-26 02:16:08.318522');
CREATE TABLE "imagen_images" (
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
	"key" TEXT, 
	uri TEXT, 
	stored_at DATETIME, damage TEXT, requested_at DATETIME, c2pa TEXT, c2pa_issuer TEXT, digital_source_type TEXT, marked TEXT, 
	PRIMARY KEY (call_id, idx), 
	CONSTRAINT imagen_images_state_is_known CHECK (state IN ('pending', 'stored', 'quarantined', 'lost', 'erased'))
);
INSERT INTO "imagen_images" VALUES('pi-00000000000000000000000000000001',0,'f5289c07f5f01add9958bcbe1db37cd3caeaa439aefb6fd0623a704d50727e36','stored',NULL,0,'https://cdn.test/0.png','a revised fox','image/png',8,8,99,'abababababababababababababababababababababababababababababababab','file:///a','pi-00000000000000000000000000000001-0.png','file:///a/pi-00000000000000000000000000000001-0.png','2026-11-25 22:40:08.435160',NULL,'2026-11-25 22:40:08.305037',NULL,'Provider','trainedAlgorithmicMedia',NULL);
INSERT INTO "imagen_images" VALUES('pi-00000000000000000000000000000001',1,'f5289c07f5f01add9958bcbe1db37cd3caeaa439aefb6fd0623a704d50727e36','stored',NULL,0,'https://cdn.test/1.png','a revised fox','image/png',8,8,99,'abababababababababababababababababababababababababababababababab','file:///a','pi-00000000000000000000000000000001-1.png','file:///a/pi-00000000000000000000000000000001-1.png','2026-11-25 22:40:08.451282','not checked: GIF','2026-11-25 22:40:08.305037',NULL,NULL,NULL,NULL);
INSERT INTO "imagen_images" VALUES('pi-00000000000000000000000000000002',0,'3969220f26db6f9147a8ff8391bddedd7ac0391fcdfcc919ac6d7e16522938d0','pending',NULL,0,'https://cdn.test/0.png','a revised fox','image/png',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,'2026-11-25 22:40:08.478411',NULL,NULL,NULL,NULL);
INSERT INTO "imagen_images" VALUES('pi-00000000000000000000000000000003',0,'947bbeeb797f89766ef2b5d83a9057dac127a1bcb11a6ad400f1e49eab43ae62','quarantined','safety',0,'https://cdn.test/0.png','a revised fox','image/png',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,'2026-11-25 22:40:08.492084',NULL,NULL,NULL,NULL);
INSERT INTO "imagen_images" VALUES('pi-00000000000000000000000000000004',0,'cc2dc731dd5a55f94d6d7bf3aa719068c79627acabce91dad664ba116a2013f3','lost','because',1,'https://cdn.test/0.png','a revised fox','image/png',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,'2026-11-25 22:40:08.542465',NULL,NULL,NULL,NULL);
INSERT INTO "imagen_images" VALUES('pi-00000000000000000000000000000009',0,'e64804aa2268dbf2ecd6967e9331f6ab73ce5e166211fc8c307caa1e938df3d7','stored',NULL,0,'https://cdn.test/0.png','a revised fox','image/png',8,8,99,'abababababababababababababababababababababababababababababababab','file:///a','pi-00000000000000000000000000000009-0.png','file:///a/pi-00000000000000000000000000000009-0.png','2026-11-25 22:40:08.918028',NULL,'2026-11-25 22:40:08.885851',NULL,NULL,NULL,NULL);
INSERT INTO "imagen_images" VALUES('pi-00000000000000000000000000000008',0,'e64804aa2268dbf2ecd6967e9331f6ab73ce5e166211fc8c307caa1e938df3d7','pending',NULL,0,'https://cdn.test/0.png','a revised fox','image/png',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,'2026-11-25 22:40:08.811501',NULL,NULL,NULL,NULL);
INSERT INTO "imagen_images" VALUES('pi-0000000000000000000000000000000c',0,'177a5a793994dc8e721a566e830bde9158b9576b20bf882bbd65057293e02f2c','erased',NULL,0,NULL,NULL,'image/png',8,8,99,NULL,NULL,NULL,NULL,'2026-11-25 22:40:09.083271',NULL,'2026-11-25 22:40:09.070854',NULL,NULL,NULL,NULL);
CREATE TABLE "imagen_items" (
	id TEXT NOT NULL, 
	model TEXT NOT NULL, 
	prompt TEXT NOT NULL, 
	parameters TEXT NOT NULL, 
	edition TEXT NOT NULL, 
	repeat INTEGER NOT NULL, 
	kind TEXT DEFAULT 'image' NOT NULL, 
	rewrite_id TEXT, 
	variation INTEGER, 
	state TEXT NOT NULL, 
	reason TEXT, 
	holder_id TEXT, 
	created_at DATETIME NOT NULL, 
	updated_at DATETIME NOT NULL, inputs TEXT, 
	PRIMARY KEY (id), 
	CONSTRAINT imagen_items_kind_is_known CHECK (kind IN ('image', 'rewrite')), 
	CONSTRAINT imagen_items_state_is_known CHECK (state IN ('planned', 'claimed', 'sent', 'generated', 'delivered', 'lost', 'refused', 'failed', 'unknown', 'erased'))
);
INSERT INTO "imagen_items" VALUES('f5289c07f5f01add9958bcbe1db37cd3caeaa439aefb6fd0623a704d50727e36','google/imagen4/preview','fox 0','{"aspect_ratio": "16:9"}','may',1,'image',NULL,NULL,'delivered',NULL,NULL,'2026-11-25 22:40:08.266375','2026-11-25 22:40:08.451872','{"image": "cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd"}');
INSERT INTO "imagen_items" VALUES('3969220f26db6f9147a8ff8391bddedd7ac0391fcdfcc919ac6d7e16522938d0','google/imagen4/preview','fox 1','{"aspect_ratio": "16:9"}','may',1,'image',NULL,NULL,'generated',NULL,NULL,'2026-11-25 22:40:08.266375','2026-11-25 22:40:08.481447',NULL);
INSERT INTO "imagen_items" VALUES('947bbeeb797f89766ef2b5d83a9057dac127a1bcb11a6ad400f1e49eab43ae62','google/imagen4/preview','fox 2','{"aspect_ratio": "16:9"}','may',1,'image',NULL,NULL,'lost',NULL,NULL,'2026-11-25 22:40:08.266375','2026-11-25 22:40:08.523367',NULL);
INSERT INTO "imagen_items" VALUES('cc2dc731dd5a55f94d6d7bf3aa719068c79627acabce91dad664ba116a2013f3','google/imagen4/preview','fox 3','{"aspect_ratio": "16:9"}','may',1,'image',NULL,NULL,'lost',NULL,NULL,'2026-11-25 22:40:08.266375','2026-11-25 22:40:08.561288',NULL);
INSERT INTO "imagen_items" VALUES('ed47d7e1b40765b1f2629c90de36427604a1ab0f277a5886e8d04fa605c522f5','google/imagen4/preview','fox 4','{"aspect_ratio": "16:9"}','may',1,'image',NULL,NULL,'refused','safety: é, 狐',NULL,'2026-11-25 22:40:08.266375','2026-11-25 22:40:08.642210',NULL);
INSERT INTO "imagen_items" VALUES('00b14719309115e9fc713083f894128cc3bf0267b4a101907e538182a1dd8798','google/imagen4/preview','fox 5','{"aspect_ratio": "16:9"}','may',1,'image',NULL,NULL,'failed','500',NULL,'2026-11-25 22:40:08.266375','2026-11-25 22:40:08.690433',NULL);
INSERT INTO "imagen_items" VALUES('6b990457d5c8e25151df0f7a47c05d44bb0883211aca27ffbcfaf2c6929b3b4d','google/imagen4/preview','fox 6','{"aspect_ratio": "16:9"}','may',1,'image',NULL,NULL,'unknown','timed out',NULL,'2026-11-25 22:40:08.266375','2026-11-25 22:40:08.746206',NULL);
INSERT INTO "imagen_items" VALUES('e64804aa2268dbf2ecd6967e9331f6ab73ce5e166211fc8c307caa1e938df3d7','google/imagen4/preview','fox 7','{"aspect_ratio": "16:9"}','may',1,'image',NULL,NULL,'generated',NULL,NULL,'2026-11-25 22:40:08.266375','2026-11-25 22:40:08.933860',NULL);
INSERT INTO "imagen_items" VALUES('d1f3c4de3585a70a8dff8b2f1f8f9c32eb02b0113309783c7e2a5da93f058eae','google/imagen4/preview','fox 8','{"aspect_ratio": "16:9"}','may',1,'image',NULL,NULL,'lost','reply: lost',NULL,'2026-11-25 22:40:08.266375','2026-11-25 22:40:09.038119',NULL);
INSERT INTO "imagen_items" VALUES('34588364d29ee629cb52dc2a5c678c8aafcbd5cd34cd84130fe8553198d94487','google/imagen4/preview','fox 9','{"aspect_ratio": "16:9"}','may',1,'image',NULL,NULL,'unknown','the process stopped while the call was in flight',NULL,'2026-11-25 22:40:08.266375','2026-11-26 02:16:08.300911',NULL);
INSERT INTO "imagen_items" VALUES('89c0e2f5ed149259f597117ebc51daf67657d74a9d88edd555bdbf1063f6e1ec','google/imagen4/preview','fox 10','{"aspect_ratio": "16:9"}','may',1,'image',NULL,NULL,'planned',NULL,NULL,'2026-11-25 22:40:08.266375','2026-11-26 02:16:08.300911',NULL);
INSERT INTO "imagen_items" VALUES('177a5a793994dc8e721a566e830bde9158b9576b20bf882bbd65057293e02f2c','google/imagen4/preview','','{}','may',1,'image',NULL,NULL,'erased','erased on request',NULL,'2026-11-25 22:40:08.266375','2026-11-25 22:40:09.126183',NULL);
INSERT INTO "imagen_items" VALUES('7250ac369f02ea80627e8ff4653ebf39314442a1e0e91b371d11ee8e1808e4cf','google/imagen4/preview','fox 12','{"aspect_ratio": "16:9"}','may',1,'image',NULL,NULL,'planned',NULL,NULL,'2026-11-25 22:40:08.266375','2026-11-25 22:40:08.266375',NULL);
INSERT INTO "imagen_items" VALUES('25400faae5d86881802f1366f7a964c90b88942fd423da07f35ecbfc1dcbc956','google/imagen4/preview','fox 13','{"aspect_ratio": "16:9"}','may',1,'image',NULL,NULL,'planned',NULL,NULL,'2026-11-25 22:40:08.266375','2026-11-25 22:40:08.266375',NULL);
INSERT INTO "imagen_items" VALUES('d0700dba6d736089fda02394939425ddd8178df2ad871aeefd49db9c74f0be19','openai/gpt-4o-mini','owl 0','{"brief": "calm", "limit": 400}','',1,'rewrite',NULL,1,'delivered',NULL,NULL,'2026-11-25 22:40:09.147570','2026-11-25 22:40:09.160484',NULL);
INSERT INTO "imagen_items" VALUES('55caf6af6fa3e39c26c4da811b8ac8704e1a4e8c1d5aff30c018a8eb5735874f','openai/gpt-4o-mini','owl 1','{"brief": "calm", "limit": 400}','',1,'rewrite',NULL,1,'refused','too long',NULL,'2026-11-25 22:40:09.147570','2026-11-25 22:40:09.193762',NULL);
INSERT INTO "imagen_items" VALUES('50ca9f67ce91951bdab65b1c9a6bb9614f05604a440b19473d3c52637ad03866','openai/gpt-4o-mini','owl 2','{"brief": "calm", "limit": 400}','',1,'rewrite',NULL,1,'planned',NULL,NULL,'2026-11-25 22:40:09.147570','2026-11-25 22:40:09.147570',NULL);
INSERT INTO "imagen_items" VALUES('80bd7f6736048b37dfe9bd01c6d4f60157725818ca1a5ccf4fe969fd7e7f9a2e','google/imagen4/preview','owl 0','{}','june',1,'image','d0700dba6d736089fda02394939425ddd8178df2ad871aeefd49db9c74f0be19',1,'planned',NULL,NULL,'2026-11-25 22:40:09.147570','2026-11-25 22:40:09.147570',NULL);
INSERT INTO "imagen_items" VALUES('9237386dea4146a70dd6c2811b55a3efca58bf64b133ee8a77740c73b0a18066','google/imagen4/preview','owl 1','{}','june',1,'image','55caf6af6fa3e39c26c4da811b8ac8704e1a4e8c1d5aff30c018a8eb5735874f',1,'planned',NULL,NULL,'2026-11-25 22:40:09.147570','2026-11-25 22:40:09.147570',NULL);
INSERT INTO "imagen_items" VALUES('9b28d26dc95c3cd2475ca270deffc550c5dea0c54cfe8b708daa834270ba1841','google/imagen4/preview','owl 2','{}','june',1,'image','50ca9f67ce91951bdab65b1c9a6bb9614f05604a440b19473d3c52637ad03866',1,'planned',NULL,NULL,'2026-11-25 22:40:09.147570','2026-11-25 22:40:09.147570',NULL);
CREATE TABLE imagen_marks (
	destination TEXT NOT NULL, 
	number BIGINT NOT NULL, 
	PRIMARY KEY (destination)
);
INSERT INTO "imagen_marks" VALUES('file:///a',3);
INSERT INTO "imagen_marks" VALUES('s3://bucket/b',40);
CREATE TABLE imagen_meta (
    "key" TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY ("key")
);
INSERT INTO "imagen_meta" VALUES('ledger_id','5acc3abfdf914d4eb41f0ba4e7d75cc5');
INSERT INTO "imagen_meta" VALUES('api_origin','https://api.aimlapi.com');
INSERT INTO "imagen_meta" VALUES('schema_version','15');
CREATE TABLE imagen_quota_shares (
    id TEXT NOT NULL,
    holder_id TEXT NOT NULL,
    "key" TEXT NOT NULL,
    model TEXT NOT NULL,
    per_minute DOUBLE,
    in_flight INTEGER,
    wanted INTEGER NOT NULL,
    granted INTEGER NOT NULL,
    PRIMARY KEY (id)
);
CREATE TABLE imagen_quotas (
    "key" TEXT NOT NULL,
    model TEXT NOT NULL,
    ceiling DOUBLE,
    proved INTEGER NOT NULL,
    busy DOUBLE NOT NULL,
    next_at DOUBLE NOT NULL,
    leased_at DOUBLE NOT NULL,
    cut_at DOUBLE NOT NULL,
    cool_until DOUBLE NOT NULL,
    PRIMARY KEY ("key", model)
);
INSERT INTO "imagen_quotas" VALUES('k','google/imagen4/preview',60.0,1,0.5,0.0,0.0,0.0,0.0);
CREATE TABLE imagen_reviews (
	call_id TEXT NOT NULL, 
	idx INTEGER NOT NULL, 
	verdict TEXT NOT NULL, 
	verdict_at DATETIME, 
	stars INTEGER NOT NULL, 
	stars_at DATETIME, 
	reviewer TEXT NOT NULL, 
	reviewed_at DATETIME NOT NULL, 
	reason TEXT, 
	note TEXT, 
	sha256 TEXT, 
	PRIMARY KEY (call_id, idx), 
	CONSTRAINT imagen_reviews_verdict_is_known CHECK (verdict IN ('approved', 'rejected', 'none'))
);
INSERT INTO "imagen_reviews" VALUES('pi-00000000000000000000000000000001',0,'approved','2026-11-26 05:11:14.349979',4,'2026-11-26 05:11:14.349979','bob','2026-11-26 05:11:14.349979',NULL,'for the cover','abababababababababababababababababababababababababababababababab');
INSERT INTO "imagen_reviews" VALUES('pi-00000000000000000000000000000001',1,'rejected','2026-11-26 05:11:14.349979',0,NULL,'bob','2026-11-26 05:11:14.349979','six fingers',NULL,'abababababababababababababababababababababababababababababababab');
INSERT INTO "imagen_reviews" VALUES('pi-00000000000000000000000000000009',0,'none',NULL,2,'2026-11-26 05:11:14.349979','ann','2026-11-26 05:11:14.349979',NULL,NULL,'abababababababababababababababababababababababababababababababab');
CREATE TABLE imagen_revision_requests (
	number INTEGER NOT NULL, 
	id TEXT NOT NULL, 
	item_id TEXT NOT NULL, 
	reviewer TEXT NOT NULL, 
	at DATETIME NOT NULL, 
	withdrawn BOOLEAN NOT NULL, 
	PRIMARY KEY (number), 
	UNIQUE (id)
);
INSERT INTO "imagen_revision_requests" VALUES(1,'81613460ec764e90a35c4b96e0d53aa1','15ca1b9a209a2cd6c429dc021846c6770a353c15b5e28dd6edabe7ce2ccb3a1f','bob','2026-11-26 05:11:14.360932',0);
CREATE TABLE imagen_revisions (
	item_id TEXT NOT NULL, 
	root_id TEXT NOT NULL, 
	revision INTEGER NOT NULL, 
	parent_id TEXT NOT NULL, 
	call_id TEXT NOT NULL, 
	idx INTEGER NOT NULL, 
	kind TEXT NOT NULL, 
	model TEXT NOT NULL, 
	prompt TEXT NOT NULL, 
	parameters TEXT NOT NULL, 
	edition TEXT NOT NULL, 
	created_at DATETIME NOT NULL, 
	PRIMARY KEY (item_id), 
	CONSTRAINT imagen_revisions_kind_is_known CHECK (kind IN ('seed', 'prompt', 'parameters'))
);
INSERT INTO "imagen_revisions" VALUES('15ca1b9a209a2cd6c429dc021846c6770a353c15b5e28dd6edabe7ce2ccb3a1f','f5289c07f5f01add9958bcbe1db37cd3caeaa439aefb6fd0623a704d50727e36',2,'f5289c07f5f01add9958bcbe1db37cd3caeaa439aefb6fd0623a704d50727e36','pi-00000000000000000000000000000001',1,'seed','google/imagen4/preview','a red fox','{}','','2026-11-26 05:11:14.360932');
CREATE TABLE imagen_rewrites (
    item_id TEXT NOT NULL,
    call_id TEXT NOT NULL,
    text TEXT NOT NULL,
    created_at DATETIME NOT NULL,
    PRIMARY KEY (item_id)
);
INSERT INTO "imagen_rewrites" VALUES('d0700dba6d736089fda02394939425ddd8178df2ad871aeefd49db9c74f0be19','pi-0000000000000000000000000000000d','a better owl','2026-11-25 22:40:09.160484');
CREATE TABLE imagen_run_items (
    run_id TEXT NOT NULL,
    position INTEGER NOT NULL,
    item_id TEXT NOT NULL,
    source TEXT NOT NULL,
    line INTEGER NOT NULL,
    "row" TEXT NOT NULL,
    choices TEXT NOT NULL,
    owned BOOLEAN NOT NULL,
    PRIMARY KEY (run_id, position)
);
INSERT INTO "imagen_run_items" VALUES('first',0,'f5289c07f5f01add9958bcbe1db37cd3caeaa439aefb6fd0623a704d50727e36','prompts.txt',1,'{"n": 0}','["red"]',0);
INSERT INTO "imagen_run_items" VALUES('first',1,'3969220f26db6f9147a8ff8391bddedd7ac0391fcdfcc919ac6d7e16522938d0','prompts.txt',2,'{"n": 1}','["red"]',0);
INSERT INTO "imagen_run_items" VALUES('first',2,'947bbeeb797f89766ef2b5d83a9057dac127a1bcb11a6ad400f1e49eab43ae62','prompts.txt',3,'{"n": 2}','["red"]',0);
INSERT INTO "imagen_run_items" VALUES('first',3,'cc2dc731dd5a55f94d6d7bf3aa719068c79627acabce91dad664ba116a2013f3','prompts.txt',4,'{"n": 3}','["red"]',0);
INSERT INTO "imagen_run_items" VALUES('first',4,'ed47d7e1b40765b1f2629c90de36427604a1ab0f277a5886e8d04fa605c522f5','prompts.txt',5,'{"n": 4}','["red"]',0);
INSERT INTO "imagen_run_items" VALUES('first',5,'00b14719309115e9fc713083f894128cc3bf0267b4a101907e538182a1dd8798','prompts.txt',6,'{"n": 5}','["red"]',0);
INSERT INTO "imagen_run_items" VALUES('first',6,'6b990457d5c8e25151df0f7a47c05d44bb0883211aca27ffbcfaf2c6929b3b4d','prompts.txt',7,'{"n": 6}','["red"]',0);
INSERT INTO "imagen_run_items" VALUES('first',7,'e64804aa2268dbf2ecd6967e9331f6ab73ce5e166211fc8c307caa1e938df3d7','prompts.txt',8,'{"n": 7}','["red"]',0);
INSERT INTO "imagen_run_items" VALUES('first',8,'d1f3c4de3585a70a8dff8b2f1f8f9c32eb02b0113309783c7e2a5da93f058eae','prompts.txt',9,'{"n": 8}','["red"]',0);
INSERT INTO "imagen_run_items" VALUES('first',9,'34588364d29ee629cb52dc2a5c678c8aafcbd5cd34cd84130fe8553198d94487','prompts.txt',10,'{"n": 9}','["red"]',0);
INSERT INTO "imagen_run_items" VALUES('first',10,'89c0e2f5ed149259f597117ebc51daf67657d74a9d88edd555bdbf1063f6e1ec','prompts.txt',11,'{"n": 10}','["red"]',0);
INSERT INTO "imagen_run_items" VALUES('first',11,'177a5a793994dc8e721a566e830bde9158b9576b20bf882bbd65057293e02f2c','',12,'{}','[]',0);
INSERT INTO "imagen_run_items" VALUES('first',12,'7250ac369f02ea80627e8ff4653ebf39314442a1e0e91b371d11ee8e1808e4cf','prompts.txt',13,'{"n": 12}','["red"]',0);
INSERT INTO "imagen_run_items" VALUES('first',13,'25400faae5d86881802f1366f7a964c90b88942fd423da07f35ecbfc1dcbc956','prompts.txt',14,'{"n": 13}','["red"]',0);
INSERT INTO "imagen_run_items" VALUES('second',0,'f5289c07f5f01add9958bcbe1db37cd3caeaa439aefb6fd0623a704d50727e36','more.txt',1,'{}','[]',1);
INSERT INTO "imagen_run_items" VALUES('second',1,'80bd7f6736048b37dfe9bd01c6d4f60157725818ca1a5ccf4fe969fd7e7f9a2e','more.txt',2,'{}','[]',0);
INSERT INTO "imagen_run_items" VALUES('second',2,'9237386dea4146a70dd6c2811b55a3efca58bf64b133ee8a77740c73b0a18066','more.txt',3,'{}','[]',0);
INSERT INTO "imagen_run_items" VALUES('second',3,'9b28d26dc95c3cd2475ca270deffc550c5dea0c54cfe8b708daa834270ba1841','more.txt',4,'{}','[]',0);
CREATE TABLE "imagen_runs" (
	id TEXT NOT NULL, 
	holder_id TEXT NOT NULL, 
	flow_run_id TEXT, 
	flow_run_name TEXT, 
	flow_run_url TEXT, 
	model TEXT NOT NULL, 
	parameters TEXT NOT NULL, 
	models TEXT, 
	destination TEXT, 
	edition TEXT NOT NULL, 
	tags TEXT NOT NULL, 
	budget BIGINT, 
	reserved BIGINT NOT NULL, 
	spent BIGINT NOT NULL, 
	started_at DATETIME NOT NULL, 
	ended_at DATETIME, 
	outcome TEXT, 
	warned BOOLEAN, mark TEXT, 
	PRIMARY KEY (id), 
	CONSTRAINT imagen_runs_outcome_is_known CHECK (outcome IN ('Completed', 'Incomplete', 'BudgetReached', 'Blocked', 'Stopped', 'Rebuilt'))
);
INSERT INTO "imagen_runs" VALUES('first','62d577768e2e48baab0c199680fc5ece',NULL,'swift-fox','http://localhost/runs/1','google/imagen4/preview','{"aspect_ratio": "16:9"}',NULL,'file:///a','','{"team": "spring"}',100000000,212000,1040001,'2026-11-25 22:40:08.235511',NULL,NULL,NULL,NULL);
INSERT INTO "imagen_runs" VALUES('second','62d577768e2e48baab0c199680fc5ece',NULL,'swift-fox','http://localhost/runs/1','google/imagen4/preview','{}',NULL,'file:///a','june','{"team": "spring"}',NULL,0,140,'2026-11-25 22:40:09.146056','2026-11-25 22:40:09.200979','Incomplete',NULL,NULL);
CREATE TABLE imagen_verdicts (
	number INTEGER NOT NULL, 
	id TEXT NOT NULL, 
	call_id TEXT NOT NULL, 
	idx INTEGER NOT NULL, 
	sha256 TEXT, 
	reviewer TEXT NOT NULL, 
	at DATETIME NOT NULL, 
	verdict TEXT, 
	stars INTEGER, 
	reason TEXT, 
	note TEXT, 
	recorded_at DATETIME NOT NULL, 
	PRIMARY KEY (number), 
	CONSTRAINT imagen_verdicts_verdict_is_known CHECK (verdict IN ('approved', 'rejected', 'none')), 
	UNIQUE (id)
);
INSERT INTO "imagen_verdicts" VALUES(1,'0897e1b4840442558e1dd642bd42565f','pi-00000000000000000000000000000001',0,'abababababababababababababababababababababababababababababababab','ann','2026-11-26 05:11:14.349979','approved',4,NULL,NULL,'2026-11-26 05:11:14.349979');
INSERT INTO "imagen_verdicts" VALUES(2,'7920b314fafa4c3b9db5712c5f26558c','pi-00000000000000000000000000000001',1,'abababababababababababababababababababababababababababababababab','bob','2026-11-26 05:11:14.349979','rejected',NULL,'six fingers',NULL,'2026-11-26 05:11:14.349979');
INSERT INTO "imagen_verdicts" VALUES(3,'4639c860897747439eda336179814d8b','pi-00000000000000000000000000000001',0,'abababababababababababababababababababababababababababababababab','bob','2026-11-26 05:11:14.349979',NULL,NULL,NULL,'for the cover','2026-11-26 05:11:14.349979');
INSERT INTO "imagen_verdicts" VALUES(4,'8976933f95d74c548b96d47c86de3248','pi-00000000000000000000000000000009',0,'abababababababababababababababababababababababababababababababab','ann','2026-11-26 05:11:14.349979',NULL,2,NULL,NULL,'2026-11-26 05:11:14.349979');
ANALYZE "sqlite_master";
INSERT INTO "sqlite_stat1" VALUES('imagen_meta','sqlite_autoindex_imagen_meta_1','3 1');
INSERT INTO "sqlite_stat1" VALUES('imagen_items','ix_imagen_items_state','1000000 10000');
INSERT INTO "sqlite_stat1" VALUES('imagen_items','ix_imagen_items_holder_id','1000000 100000');
INSERT INTO "sqlite_stat1" VALUES('imagen_calls','ix_imagen_calls_outcome','1000000 10000');
INSERT INTO "sqlite_stat1" VALUES('imagen_reviews','ix_imagen_reviews_verdict','1000000 10000');
CREATE INDEX imagen_run_items_by_item ON imagen_run_items (run_id, item_id);
CREATE INDEX ix_imagen_runs_holder_id ON imagen_runs (holder_id);
CREATE INDEX ix_imagen_items_holder_id ON imagen_items (holder_id);
CREATE INDEX ix_imagen_items_state ON imagen_items (state);
CREATE INDEX ix_imagen_calls_outcome ON imagen_calls (outcome);
CREATE INDEX ix_imagen_calls_run_id ON imagen_calls (run_id);
CREATE INDEX ix_imagen_images_item_id ON imagen_images (item_id);
CREATE UNIQUE INDEX imagen_calls_one_in_flight ON imagen_calls (item_id) WHERE outcome = 'sent';
CREATE INDEX imagen_verdicts_by_image ON imagen_verdicts (call_id, idx);
CREATE INDEX ix_imagen_reviews_verdict ON imagen_reviews (verdict);
CREATE INDEX imagen_checks_by_flags ON imagen_checks (flagged);
CREATE INDEX imagen_checks_by_group ON imagen_checks (duplicate_group);
CREATE INDEX imagen_revisions_by_parent ON imagen_revisions (call_id, idx);
CREATE INDEX ix_imagen_revisions_root_id ON imagen_revisions (root_id);
CREATE INDEX ix_imagen_revision_requests_item_id ON imagen_revision_requests (item_id);
CREATE UNIQUE INDEX imagen_handovers_by_key ON imagen_handovers (target, "key");
CREATE INDEX imagen_images_by_time ON imagen_images (requested_at, call_id, idx);
CREATE INDEX ix_imagen_items_edition ON imagen_items (edition);
CREATE INDEX ix_imagen_calls_sent_at ON imagen_calls (sent_at);
CREATE TRIGGER imagen_items_update_history AFTER UPDATE OF state ON imagen_items FOR EACH ROW WHEN (OLD.state <> NEW.state) BEGIN
    INSERT INTO imagen_history (subject, "before", "after", at)
    VALUES (NEW.id, OLD.state, NEW.state, strftime('%Y-%m-%d %H:%M:%f000', 'now')); END;
CREATE TRIGGER imagen_calls_update_history AFTER UPDATE OF outcome ON imagen_calls FOR EACH ROW WHEN (OLD.outcome <> NEW.outcome) BEGIN
    INSERT INTO imagen_history (subject, "before", "after", at)
    VALUES (NEW.id, OLD.outcome, NEW.outcome, strftime('%Y-%m-%d %H:%M:%f000', 'now')); END;
CREATE TRIGGER imagen_calls_insert_history AFTER INSERT ON imagen_calls FOR EACH ROW  BEGIN
    INSERT INTO imagen_history (subject, "before", "after", at)
    VALUES (NEW.id, NULL, NEW.outcome, strftime('%Y-%m-%d %H:%M:%f000', 'now')); END;
CREATE VIEW catalog AS
SELECT
    im.call_id || '-' || im.idx        AS image_id,
    im.item_id                         AS item_id,
    im.state                           AS state,
    im.uri                             AS uri,
    im.destination                     AS destination,
    im.key                             AS object_key,
    i.model                            AS model,
    COALESCE(c.prompt, i.prompt)       AS prompt,
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
    im.requested_at                    AS requested_at,
    c.ended_at                         AS answered_at,
    im.stored_at                       AS stored_at,
    im.reason                          AS reason,
    substr(im.source_url, 1, length(im.source_url) - length(ltrim(im.source_url, replace(im.source_url, '?', ''))))                      AS source_url,
    im.call_id                         AS client_request_id,
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
      ORDER BY ri.position + 0 LIMIT 1)    AS source_file,
    (SELECT ri.line FROM imagen_run_items ri WHERE ri.run_id = c.run_id AND ri.item_id = im.item_id
      ORDER BY ri.position + 0 LIMIT 1)    AS source_line,
    (SELECT ri.row FROM imagen_run_items ri WHERE ri.run_id = c.run_id AND ri.item_id = im.item_id
      ORDER BY ri.position + 0 LIMIT 1)    AS source_row,
    COALESCE(c.origin, (SELECT m.value FROM imagen_meta m WHERE m.key = 'api_origin')) AS api_origin,
    i.prompt                           AS source_prompt,
    CASE WHEN c.prompt IS NOT NULL THEN rw.model END AS rewritten_by,
    i.variation                        AS variation,
    r.flow_run_url                     AS flow_run_url,
    im.damage                          AS damage,
    COALESCE(rv.verdict, 'none')       AS verdict,
    COALESCE(rv.stars, 0)              AS stars,
    rv.reviewer                        AS reviewer,
    rv.reviewed_at                     AS reviewed_at,
    rv.reason                          AS review_reason,
    rv.note                            AS review_note,
    rv.sha256                          AS reviewed_sha256,
    ch.flags                           AS flags,
    COALESCE(ch.flagged, 0)            AS flag_count,
    ch.details                         AS flag_details,
    ch.duplicate_group                 AS duplicate_group,
    ch.run_duplicate_group             AS run_duplicate_group,
    ch.checked_at                      AS checked_at,
    COALESCE(rn.revision, 1)           AS revision,
    rn.parent_id                       AS parent_item_id,
    rn.call_id || '-' || rn.idx        AS parent_image_id,
    im.c2pa                            AS c2pa,
    im.c2pa_issuer                     AS c2pa_issuer,
    im.digital_source_type             AS digital_source_type,
    im.marked                          AS marked,
    i.inputs                           AS inputs,
    c.provider                         AS provider
FROM imagen_images im
LEFT JOIN imagen_calls c ON c.id = im.call_id
LEFT JOIN imagen_items i ON i.id = im.item_id
LEFT JOIN imagen_runs r ON r.id = c.run_id
LEFT JOIN imagen_items rw ON rw.id = i.rewrite_id
LEFT JOIN imagen_reviews rv ON rv.call_id = im.call_id AND rv.idx = im.idx
LEFT JOIN imagen_checks ch ON ch.call_id = im.call_id AND ch.idx = im.idx
LEFT JOIN imagen_revisions rn ON rn.item_id = im.item_id;
