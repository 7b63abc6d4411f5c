-- Times are microseconds since the epoch, UTC. What repeats is ignored by its id.
-- Nothing here depends on the order in which partitions of different topics were read:
-- a notice's status follows from its stamps, and each stamp comes from one partition.
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS offsets (
    topic TEXT NOT NULL, partition INTEGER NOT NULL, next INTEGER NOT NULL, PRIMARY KEY (topic, partition)
) WITHOUT ROWID;

-- An id is unique to its source only; two sources may both count from 1.
CREATE TABLE IF NOT EXISTS toggles (
    id TEXT NOT NULL, subject TEXT NOT NULL, purpose TEXT NOT NULL, choice TEXT NOT NULL,
    occurred_at INTEGER NOT NULL, accepted_at INTEGER NOT NULL, source TEXT,
    PRIMARY KEY (id, subject, purpose, choice, occurred_at)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS toggles_subject ON toggles (subject);

CREATE TABLE IF NOT EXISTS consents (
    subject TEXT NOT NULL, purpose TEXT NOT NULL, choice TEXT NOT NULL, version INTEGER,
    occurred_at INTEGER NOT NULL, toggle_id TEXT NOT NULL, decided_at INTEGER NOT NULL,
    PRIMARY KEY (subject, purpose)
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS decisions (
    id TEXT PRIMARY KEY, kind TEXT NOT NULL, subject TEXT NOT NULL, purpose TEXT NOT NULL, choice TEXT NOT NULL,
    toggle_id TEXT NOT NULL, occurred_at INTEGER NOT NULL, accepted_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS decisions_subject ON decisions (subject);

CREATE TABLE IF NOT EXISTS partners (
    id TEXT PRIMARY KEY, revision INTEGER NOT NULL, removed_at INTEGER, body TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS notices (
    id TEXT PRIMARY KEY, partner TEXT NOT NULL, subject TEXT NOT NULL, purpose TEXT NOT NULL,
    action TEXT NOT NULL, cause_id TEXT NOT NULL, toggle_id TEXT NOT NULL,
    lane INTEGER NOT NULL, offset INTEGER NOT NULL,
    issued_at INTEGER NOT NULL, receive_by INTEGER NOT NULL, complete_by INTEGER NOT NULL,
    delivered_at INTEGER, received_at INTEGER, completed_at INTEGER, undeliverable_at INTEGER,
    cancelled_at INTEGER, ack_status TEXT, outcome TEXT, reason TEXT,
    status TEXT NOT NULL GENERATED ALWAYS AS (
        CASE
            WHEN ack_status IN ('completed', 'refused') THEN ack_status
            WHEN undeliverable_at IS NOT NULL THEN 'undeliverable'
            WHEN cancelled_at IS NOT NULL THEN 'cancelled'
            WHEN ack_status IS NOT NULL THEN ack_status
            WHEN delivered_at IS NOT NULL THEN 'delivered'
            ELSE 'queued'
        END
    ) STORED
);
CREATE UNIQUE INDEX IF NOT EXISTS notices_place ON notices (lane, offset, id);
CREATE INDEX IF NOT EXISTS notices_subject ON notices (subject);
CREATE INDEX IF NOT EXISTS notices_open ON notices (partner, issued_at)
    WHERE status IN ('queued', 'delivered', 'received', 'in_progress');
CREATE INDEX IF NOT EXISTS notices_to_receive ON notices (partner, receive_by)
    WHERE delivered_at IS NULL AND status IN ('queued', 'received', 'in_progress');
CREATE INDEX IF NOT EXISTS notices_to_complete ON notices (partner, complete_by)
    WHERE status IN ('queued', 'delivered', 'received', 'in_progress');

CREATE TABLE IF NOT EXISTS deliveries (
    id TEXT PRIMARY KEY, partner TEXT NOT NULL, lane INTEGER NOT NULL, first_offset INTEGER NOT NULL,
    last_offset INTEGER NOT NULL, notices INTEGER NOT NULL, webhook_id TEXT NOT NULL, attempt INTEGER NOT NULL,
    delivered INTEGER NOT NULL, status_code INTEGER, error TEXT, duration_ms REAL NOT NULL, at INTEGER NOT NULL,
    undelivered TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS deliveries_place ON deliveries (lane, last_offset) WHERE delivered;

CREATE TABLE IF NOT EXISTS delivery_health (
    partner TEXT PRIMARY KEY, last_success_at INTEGER, last_failure_at INTEGER, last_error TEXT,
    next_attempt_at INTEGER, consecutive_failures INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS acknowledgements (
    id TEXT PRIMARY KEY, place INTEGER NOT NULL, notice_id TEXT NOT NULL, partner TEXT NOT NULL,
    subject TEXT NOT NULL, status TEXT NOT NULL, outcome TEXT, reason TEXT, detail TEXT, expected_by INTEGER,
    occurred_at INTEGER NOT NULL, -- as the partner says
    at INTEGER NOT NULL, -- when we were told
    evidence TEXT, via TEXT NOT NULL,
    verdict TEXT -- NULL while the notice itself has not been read yet
) WITHOUT ROWID;
-- When each partner last brought a notice further by an acknowledgement.
CREATE TABLE IF NOT EXISTS progress (partner TEXT PRIMARY KEY, last_at INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS acknowledgements_notice ON acknowledgements (notice_id, place);

CREATE TABLE IF NOT EXISTS undeliverable (
    notice_id TEXT PRIMARY KEY, partner TEXT NOT NULL, status_code INTEGER NOT NULL, detail TEXT NOT NULL,
    at INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS poisoned (
    id TEXT PRIMARY KEY, topic TEXT NOT NULL, partition INTEGER NOT NULL, offset INTEGER NOT NULL,
    reason TEXT NOT NULL, at INTEGER NOT NULL
) WITHOUT ROWID;

-- Counters and roll-ups, kept by the triggers below in the transaction of what they count.
CREATE TABLE IF NOT EXISTS counts (
    partner TEXT NOT NULL, name TEXT NOT NULL, n INTEGER NOT NULL, PRIMARY KEY (partner, name)
) WITHOUT ROWID;
-- Where each bucket ends, in microseconds. A function of ours in the triggers would ask for the interpreter's
-- lock at every row.
CREATE TABLE IF NOT EXISTS lag_buckets (upper INTEGER PRIMARY KEY, bucket INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS lag_rollups (
    partner TEXT NOT NULL, clock TEXT NOT NULL, hour INTEGER NOT NULL, bucket INTEGER NOT NULL, n INTEGER NOT NULL,
    PRIMARY KEY (partner, clock, hour, bucket)
) WITHOUT ROWID;

CREATE TRIGGER IF NOT EXISTS count_toggle AFTER INSERT ON toggles BEGIN
    INSERT INTO counts VALUES ('', 'toggles', 1) ON CONFLICT DO UPDATE SET n = n + 1;
END;
CREATE TRIGGER IF NOT EXISTS count_poisoned AFTER INSERT ON poisoned BEGIN
    INSERT INTO counts VALUES ('', 'poisoned', 1) ON CONFLICT DO UPDATE SET n = n + 1;
END;
CREATE TRIGGER IF NOT EXISTS count_decision AFTER INSERT ON decisions WHEN NEW.kind = 'deletion_requested' BEGIN
    INSERT INTO counts VALUES ('', 'requests', 1) ON CONFLICT DO UPDATE SET n = n + 1;
END;
CREATE TRIGGER IF NOT EXISTS count_consent AFTER INSERT ON consents BEGIN
    INSERT INTO counts VALUES ('', 'consents', 1) ON CONFLICT DO UPDATE SET n = n + 1;
    INSERT INTO counts VALUES ('', NEW.choice, 1) ON CONFLICT DO UPDATE SET n = n + 1;
END;
CREATE TRIGGER IF NOT EXISTS count_choice AFTER UPDATE OF choice ON consents WHEN OLD.choice <> NEW.choice BEGIN
    INSERT INTO counts VALUES ('', OLD.choice, -1) ON CONFLICT DO UPDATE SET n = n - 1;
    INSERT INTO counts VALUES ('', NEW.choice, 1) ON CONFLICT DO UPDATE SET n = n + 1;
END;
CREATE TRIGGER IF NOT EXISTS count_notice AFTER INSERT ON notices BEGIN
    INSERT INTO counts VALUES (NEW.partner, NEW.status, 1) ON CONFLICT DO UPDATE SET n = n + 1;
END;
CREATE TRIGGER IF NOT EXISTS count_status AFTER UPDATE ON notices WHEN OLD.status <> NEW.status BEGIN
    INSERT INTO counts VALUES (OLD.partner, OLD.status, -1) ON CONFLICT DO UPDATE SET n = n - 1;
    INSERT INTO counts VALUES (NEW.partner, NEW.status, 1) ON CONFLICT DO UPDATE SET n = n + 1;
END;
CREATE TRIGGER IF NOT EXISTS roll_up_receive AFTER UPDATE OF delivered_at ON notices
WHEN OLD.delivered_at IS NULL AND NEW.delivered_at IS NOT NULL BEGIN
    INSERT INTO counts VALUES (NEW.partner, 'ever_delivered', 1) ON CONFLICT DO UPDATE SET n = n + 1;
    INSERT INTO lag_rollups VALUES (
        NEW.partner, 'receive', NEW.delivered_at / 3600000000,
        (SELECT bucket FROM lag_buckets WHERE upper >= NEW.delivered_at - NEW.issued_at ORDER BY upper LIMIT 1), 1
    ) ON CONFLICT DO UPDATE SET n = n + 1;
END;
CREATE TRIGGER IF NOT EXISTS roll_up_complete AFTER UPDATE OF completed_at ON notices
WHEN OLD.completed_at IS NULL AND NEW.completed_at IS NOT NULL BEGIN
    INSERT INTO lag_rollups VALUES (
        NEW.partner, 'complete', NEW.completed_at / 3600000000,
        (SELECT bucket FROM lag_buckets WHERE upper >= NEW.completed_at - NEW.issued_at ORDER BY upper LIMIT 1), 1
    ) ON CONFLICT DO UPDATE SET n = n + 1;
END;
