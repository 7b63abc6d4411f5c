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
    rank TEXT, -- the greatest of any decision about them, but for those that concern one partner alone
    PRIMARY KEY (subject, purpose)
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS decisions (
    id TEXT PRIMARY KEY, kind TEXT NOT NULL, subject TEXT NOT NULL, purpose TEXT NOT NULL, choice TEXT NOT NULL,
    toggle_id TEXT NOT NULL, occurred_at INTEGER NOT NULL, accepted_at INTEGER NOT NULL,
    partner TEXT, datasets TEXT -- where one partner alone is asked for what it was given: who, and what, as JSON
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS decisions_subject ON decisions (subject);

CREATE TABLE IF NOT EXISTS partners (
    id TEXT PRIMARY KEY, revision INTEGER NOT NULL, removed_at INTEGER, body TEXT NOT NULL
) WITHOUT ROWID;
-- When somebody last did something by hand after which a partner may take what it did not take before: what was parked
-- until then is tried at once. It is the time of the newest such event, since the topic keeps the newest ones only.
CREATE TABLE IF NOT EXISTS tried (partner TEXT PRIMARY KEY, at INTEGER NOT NULL) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS notices (
    id TEXT PRIMARY KEY, partner TEXT NOT NULL, subject TEXT NOT NULL, purpose TEXT NOT NULL,
    action TEXT NOT NULL, cause_id TEXT NOT NULL, toggle_id TEXT NOT NULL,
    lane INTEGER NOT NULL, offset INTEGER NOT NULL, -- where it was issued first
    occurred_at INTEGER NOT NULL, issued_at INTEGER NOT NULL, receive_by INTEGER NOT NULL, complete_by INTEGER NOT NULL,
    rank TEXT, -- of the choice that it comes from
    extended_complete_by INTEGER, -- by when, if it is extended; NULL if it cannot be
    extended_by TEXT, -- the acknowledgement that asked for it
    due_by INTEGER NOT NULL GENERATED ALWAYS AS (
        CASE WHEN extended_by IS NULL THEN complete_by ELSE extended_complete_by END
    ) VIRTUAL,
    watch TEXT, -- how its deadlines are watched, as JSON; NULL as usual
    -- When it comes at risk by each clock. As usual that is `Watch.at_risk` of `streams.clocks`.
    receive_risk_at INTEGER NOT NULL GENERATED ALWAYS AS (
        issued_at + CAST((receive_by - issued_at) * COALESCE(json_extract(watch, '$.at_risk'), 0.8) AS INTEGER)
    ) VIRTUAL,
    complete_risk_at INTEGER NOT NULL GENERATED ALWAYS AS (
        issued_at + CAST((due_by - issued_at) * COALESCE(json_extract(watch, '$.at_risk'), 0.8) AS INTEGER)
    ) VIRTUAL,
    marked INTEGER NOT NULL DEFAULT 0, -- the steps that it came to, as bits, and when each clock's next one is
    receive_wake INTEGER NOT NULL, complete_wake INTEGER NOT NULL,
    datasets TEXT, -- what the partner was given, as JSON, as far as the notice says it; and how many there are
    datasets_count INTEGER,
    wake_at INTEGER NOT NULL GENERATED ALWAYS AS (
        CASE WHEN delivered_at IS NULL THEN MIN(receive_wake, complete_wake) ELSE complete_wake END
    ) VIRTUAL,
    delivered_at INTEGER, received_at INTEGER, completed_at INTEGER,
    superseded_at INTEGER, -- when it was left out; that counts unless it was delivered all the same
    cancelled_at INTEGER, discarded_at INTEGER, -- when its partner was removed, and when an operator gave it up
    -- A notice is held up while its partner did not take it at the last of its places: for good, or until it is tried
    -- again. Where that is, since when, and what the partner said. All of it is NULL otherwise.
    held_lane INTEGER, held_offset INTEGER, held_words TEXT,
    undeliverable_at INTEGER, parked_at INTEGER, retry_at INTEGER,
    reversed_at INTEGER, -- since when, too, a later notice asks for the opposite; that counts unless it was delivered
    ack_status TEXT, outcome TEXT, reason TEXT,
    expected_by INTEGER, -- when the partner last said that it means to be done
    -- How it was answered for good: 1 if late, and 2 more if it was refused. NULL while it was not.
    answer INTEGER GENERATED ALWAYS AS (
        CASE WHEN completed_at IS NOT NULL THEN (completed_at > due_by) + 2 * (ack_status = 'refused') END
    ) VIRTUAL,
    suppression_completes INTEGER, -- 1 where `suppressed` completes it; NULL where the data must be gone
    -- The dates by the person's request that had passed already when it was issued; NULL where none had.
    legal_receive_by INTEGER, legal_complete_by INTEGER,
    -- `completed_at` is when the partner gave the final answer that counts. This is when it gave its first one, where
    -- it took that back since; else NULL.
    answered_first_at INTEGER,
    -- When its partner first answered for good, while an answer stands: to amend one is no progress.
    answered_at INTEGER GENERATED ALWAYS AS (
        CASE WHEN completed_at IS NOT NULL THEN COALESCE(answered_first_at, completed_at) END
    ) VIRTUAL,
    -- Into which month's archive its acknowledgements and marks were folded, as 202601, and which block of it; see
    -- `ledger.folding`. A month of 0 says that there was nothing to fold. Where it was brought back, only the block stands,
    -- in case that there is nothing new. Neither follows from the log.
    archived INTEGER, archived_block INTEGER,
    status TEXT NOT NULL GENERATED ALWAYS AS (
        CASE
            WHEN ack_status IN ('completed', 'refused') THEN ack_status
            WHEN cancelled_at IS NOT NULL OR discarded_at IS NOT NULL THEN 'cancelled'
            WHEN delivered_at IS NULL AND (superseded_at IS NOT NULL OR reversed_at IS NOT NULL) THEN 'cancelled'
            WHEN undeliverable_at IS NOT NULL AND delivered_at IS NULL THEN 'undeliverable'
            WHEN ack_status IS NOT NULL THEN ack_status
            WHEN delivered_at IS NOT NULL THEN 'delivered'
            ELSE 'queued'
        END
    ) STORED,
    -- For the partial indexes below, and stored in them, so that they answer alone: neither done nor over, and of
    -- these, not taken by the partner's endpoint yet, and waiting to be tried again.
    is_open INTEGER NOT NULL GENERATED ALWAYS AS (
        status IN ('queued', 'undeliverable', 'delivered', 'received', 'in_progress')
    ) STORED,
    to_receive INTEGER NOT NULL GENERATED ALWAYS AS (is_open AND delivered_at IS NULL) STORED,
    parked INTEGER NOT NULL GENERATED ALWAYS AS (is_open AND parked_at IS NOT NULL AND reversed_at IS NULL) STORED,
    -- Does it wait for its first delivery, but for what is parked?
    to_deliver INTEGER NOT NULL GENERATED ALWAYS AS (status = 'queued' AND NOT parked) STORED,
    -- Since when it is a dead letter of the partner's, if it is one: held up, and never taken.
    letter_at INTEGER GENERATED ALWAYS AS (
        CASE WHEN status = 'undeliverable' THEN undeliverable_at WHEN parked AND to_receive THEN parked_at END
    ) VIRTUAL
);
CREATE INDEX IF NOT EXISTS notices_place ON notices (lane, offset);
CREATE INDEX IF NOT EXISTS notices_subject ON notices (subject);
-- A list of notices, whatever it is narrowed by, goes through one of these three; see `ledger.listing`.
CREATE INDEX IF NOT EXISTS notices_partner ON notices (partner, action, issued_at, id);
CREATE INDEX IF NOT EXISTS notices_undone ON notices (partner, action, issued_at, id)
    WHERE status IN ('refused', 'undeliverable', 'cancelled');
CREATE INDEX IF NOT EXISTS notices_open ON notices (partner, action, issued_at, id, is_open) WHERE is_open;
CREATE INDEX IF NOT EXISTS notices_to_receive
    ON notices (partner, action, receive_by, due_by, to_receive, to_deliver, receive_risk_at, complete_risk_at)
    WHERE to_receive;
CREATE INDEX IF NOT EXISTS notices_to_complete ON notices (partner, action, due_by, is_open, complete_risk_at)
    WHERE is_open;
-- When overdue notices were taken, and answered for good. What of them came last says whether a clock moves.
CREATE INDEX IF NOT EXISTS notices_received_late ON notices (partner, action, delivered_at)
    WHERE delivered_at > receive_by;
CREATE INDEX IF NOT EXISTS notices_answered_late ON notices (partner, action, answered_at)
    WHERE answered_at > due_by;
CREATE INDEX IF NOT EXISTS notices_wake ON notices (wake_at) WHERE is_open;
CREATE INDEX IF NOT EXISTS notices_letters ON notices (partner, letter_at, id) WHERE letter_at IS NOT NULL;
CREATE INDEX IF NOT EXISTS notices_held ON notices (partner, subject, purpose) WHERE held_lane IS NOT NULL;
-- What is to be tried again: by when that is due by itself, and by since when it waits.
CREATE INDEX IF NOT EXISTS notices_retry ON notices (partner, retry_at, id) WHERE parked;
CREATE INDEX IF NOT EXISTS notices_parked ON notices (partner, parked_at, id) WHERE parked;
-- What may be folded, the oldest first. Where nothing of it was, it is seldom longer than what was closed lately.
CREATE INDEX IF NOT EXISTS notices_settled
    ON notices (COALESCE(completed_at, cancelled_at, superseded_at, discarded_at, reversed_at))
    WHERE archived IS NULL AND status IN ('completed', 'cancelled');
-- What was folded and is settled no more; nearly always nothing.
CREATE INDEX IF NOT EXISTS notices_reopened ON notices (id)
    WHERE archived > 0 AND status NOT IN ('completed', 'cancelled');
-- Every place where a notice was issued again; and the first one too of a notice that stands at several, since a
-- crash may also repeat what it interrupts.
CREATE TABLE IF NOT EXISTS places (
    lane INTEGER NOT NULL, offset INTEGER NOT NULL, notice_id TEXT NOT NULL, at INTEGER NOT NULL,
    again TEXT, asked_by TEXT, -- how, and by whom; NULL where a crash repeated it
    pack TEXT, -- the id of what issued it again: of two with one id the second is a repetition
    PRIMARY KEY (lane, offset, notice_id)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS places_notice ON places (notice_id);
-- Where a partner's notices of an hour stand in a lane, so that a time can be found without a look at all others.
CREATE TABLE IF NOT EXISTS issued_hours (
    partner TEXT NOT NULL, hour INTEGER NOT NULL, lane INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL,
    PRIMARY KEY (partner, hour, lane)
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS deliveries (
    id TEXT PRIMARY KEY, partner TEXT NOT NULL, lane INTEGER NOT NULL, first_offset INTEGER NOT NULL,
    last_offset INTEGER NOT NULL, notices INTEGER NOT NULL, webhook_id TEXT NOT NULL, attempt INTEGER NOT NULL,
    delivered INTEGER NOT NULL, status_code INTEGER, error TEXT, duration_ms REAL NOT NULL, at INTEGER NOT NULL,
    undelivered TEXT NOT NULL,
    -- Of how many of its notices the reply said something that we understand, and something that we do not. The rest of
    -- what was delivered is without an answer.
    acknowledged INTEGER NOT NULL, not_understood INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS deliveries_place ON deliveries (lane, last_offset) WHERE delivered;
CREATE INDEX IF NOT EXISTS deliveries_partner ON deliveries (partner, at);

CREATE TABLE IF NOT EXISTS delivery_health (
    partner TEXT PRIMARY KEY, last_success_at INTEGER, last_failure_at INTEGER, last_error TEXT,
    next_attempt_at INTEGER, consecutive_failures INTEGER NOT NULL
) WITHOUT ROWID;

-- The same of all notices that were delivered to a partner: the three add up to them. `problems` counts replies that were
-- not understood, and the columns after it are of the last of these. It is open unless a later reply was understood, or
-- an operator marked it as seen.
CREATE TABLE IF NOT EXISTS replies (
    partner TEXT PRIMARY KEY,
    acknowledged INTEGER NOT NULL, not_understood INTEGER NOT NULL, unanswered INTEGER NOT NULL,
    problems INTEGER NOT NULL, problem_at INTEGER, problem_webhook_id TEXT, problem_reason TEXT, problem_excerpt TEXT,
    understood_at INTEGER,
    seen_at INTEGER, seen_until INTEGER -- when an operator did so, and when the last reply came that was meant
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS acknowledgements (
    notice_id TEXT NOT NULL, id TEXT NOT NULL, place INTEGER NOT NULL, -- the order in which its partner said it
    partner TEXT NOT NULL,
    subject TEXT NOT NULL, status TEXT NOT NULL, outcome TEXT, reason TEXT, detail TEXT, expected_by INTEGER,
    occurred_at INTEGER NOT NULL, -- as the partner says
    at INTEGER NOT NULL, -- when we were told
    evidence TEXT, via TEXT NOT NULL,
    statement TEXT, -- where it was signed
    vocabulary TEXT, code TEXT, -- the partner's own word, of a public vocabulary if one is named
    verdict TEXT, -- NULL while the notice itself has not been read yet
    amends INTEGER, -- 1 where it takes the place of an earlier final answer
    PRIMARY KEY (notice_id, id)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS statements (
    id TEXT PRIMARY KEY, partner TEXT NOT NULL, webhook_id TEXT NOT NULL, webhook_timestamp TEXT NOT NULL,
    webhook_signature TEXT NOT NULL, body BLOB NOT NULL, at INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS acknowledgements_statement ON acknowledgements (statement) WHERE statement IS NOT NULL;
-- Where statements were folded to: a month, and which one there. They stay there, though some were brought back.
CREATE TABLE IF NOT EXISTS archived_statements (
    id TEXT PRIMARY KEY, month INTEGER NOT NULL, number INTEGER NOT NULL
) WITHOUT ROWID;
-- How far each month's archive counts: what it holds behind these was written by who was stopped before the ledger
-- forgot it, and is written anew. `notices` and `statements` are those that the ledger has nowhere else.
CREATE TABLE IF NOT EXISTS archives (
    month INTEGER PRIMARY KEY, last_block INTEGER NOT NULL, last_statement INTEGER NOT NULL,
    notices INTEGER NOT NULL, statements INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS contradictions ON acknowledgements (at, id) WHERE verdict = 'contradiction';
CREATE INDEX IF NOT EXISTS contradictions_partner ON acknowledgements (partner, at, id) WHERE verdict = 'contradiction';

-- What was left out of its lane since the user chose otherwise before, maybe read before the notice itself.
CREATE TABLE IF NOT EXISTS superseded (notice_id TEXT PRIMARY KEY, at INTEGER NOT NULL) WITHOUT ROWID;

-- Where notices stand in traces, while tracing is on; see `streams.tracing`.
CREATE TABLE IF NOT EXISTS traces (notice_id TEXT PRIMARY KEY, trace TEXT NOT NULL) WITHOUT ROWID;

-- Acknowledgements that ask for more time. They are judged when the notice is known; until then the verdict is NULL.
CREATE TABLE IF NOT EXISTS extensions (id TEXT PRIMARY KEY, notice_id TEXT NOT NULL, verdict TEXT) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS extensions_notice ON extensions (notice_id);
CREATE INDEX IF NOT EXISTS extensions_open ON extensions (id) WHERE verdict IS NULL;

-- The steps that notices came to, each as it was said first; and of which notices that was said before we read them.
CREATE TABLE IF NOT EXISTS deadline_marks (
    notice_id TEXT NOT NULL, deadline TEXT NOT NULL, step TEXT NOT NULL, event_id TEXT NOT NULL, at INTEGER NOT NULL,
    PRIMARY KEY (notice_id, deadline, step)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS marks_waiting (notice_id TEXT PRIMARY KEY) WITHOUT ROWID;
-- How many notices each event told of first. `clock` is receive or complete.
CREATE TABLE IF NOT EXISTS deadline_events (
    partner TEXT NOT NULL, clock TEXT NOT NULL, step TEXT NOT NULL, offset INTEGER NOT NULL, at INTEGER NOT NULL,
    notices INTEGER NOT NULL, id TEXT NOT NULL UNIQUE, PRIMARY KEY (partner, clock, step, offset)
) WITHOUT ROWID;
-- Each as it was claimed first. `outcome` is NULL until whoever did so says what came of it.
CREATE TABLE IF NOT EXISTS escalations (
    id TEXT PRIMARY KEY, claim TEXT NOT NULL, partner TEXT NOT NULL, clock TEXT NOT NULL, step TEXT NOT NULL,
    after INTEGER NOT NULL, rule TEXT NOT NULL, target TEXT NOT NULL, window INTEGER NOT NULL, up_to INTEGER NOT NULL,
    notices INTEGER NOT NULL, at INTEGER NOT NULL, outcome TEXT, error TEXT, ended_at INTEGER
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS escalations_rule ON escalations (partner, clock, rule, window);

-- A notice is undeliverable while it was refused for good at the last of its places, and taken at none.
CREATE TABLE IF NOT EXISTS undeliverable (
    notice_id TEXT NOT NULL, lane INTEGER NOT NULL, offset INTEGER NOT NULL, partner TEXT NOT NULL,
    status_code INTEGER NOT NULL, detail TEXT NOT NULL, at INTEGER NOT NULL, PRIMARY KEY (notice_id, lane, offset)
) WITHOUT ROWID;
-- Where notices were left alone since their partner does not take them alone, though it takes others; from when on each
-- is tried again, and what came of it until then, as JSON.
CREATE TABLE IF NOT EXISTS parked (
    notice_id TEXT NOT NULL, lane INTEGER NOT NULL, offset INTEGER NOT NULL, partner TEXT NOT NULL,
    status_code INTEGER, detail TEXT NOT NULL, at INTEGER NOT NULL, retry_at INTEGER NOT NULL, event_id TEXT NOT NULL,
    failing TEXT NOT NULL, PRIMARY KEY (notice_id, lane, offset)
) WITHOUT ROWID;
-- What operators gave up, each as it was said first, maybe read before the notice itself.
CREATE TABLE IF NOT EXISTS discarded (
    notice_id TEXT PRIMARY KEY, at INTEGER NOT NULL, asked_by TEXT NOT NULL, reason TEXT
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS poisoned (
    id TEXT PRIMARY KEY, topic TEXT NOT NULL, partition INTEGER NOT NULL, offset INTEGER NOT NULL,
    reason TEXT NOT NULL, key TEXT, value TEXT, headers TEXT, -- in base64; headers as JSON
    at INTEGER NOT NULL, done_at INTEGER
);
CREATE INDEX IF NOT EXISTS poisoned_open ON poisoned (at, id) WHERE done_at IS NULL;
-- What was redriven or discarded, maybe read before the poisoned message itself.
CREATE TABLE IF NOT EXISTS poisoned_done (id TEXT PRIMARY KEY, at INTEGER NOT NULL) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS actions (
    id TEXT PRIMARY KEY, act TEXT NOT NULL, key TEXT NOT NULL, role TEXT NOT NULL, label TEXT, partner TEXT,
    details TEXT NOT NULL, at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS actions_at ON actions (at, id);

-- Counters and roll-ups, kept by the triggers below in the transaction of what they count. A kind is a notice's action;
-- what is not of notices has none.
CREATE TABLE IF NOT EXISTS counts (
    partner TEXT NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL, n INTEGER NOT NULL, PRIMARY KEY (partner, kind, name)
) WITHOUT ROWID;
-- Where each bucket ends, in microseconds. A function of ours in the triggers would ask for the interpreter's
-- lock at every row.
CREATE TABLE IF NOT EXISTS lag_buckets (upper INTEGER PRIMARY KEY, bucket INTEGER NOT NULL);
-- The longest time that a notice ever had between being at risk and its deadline, in microseconds, also if it is
-- extended: what is at risk now is due within that time, and so is found in the indexes by deadline.
CREATE TABLE IF NOT EXISTS risk_margins (
    partner TEXT NOT NULL, action TEXT NOT NULL, receive INTEGER NOT NULL, complete INTEGER NOT NULL,
    PRIMARY KEY (partner, action)
) WITHOUT ROWID;
-- How many notices were delivered (clock 'receive') or answered ('complete') in each hour and each day, by how long it
-- took, and how many were issued ('issue', all in bucket 0). `start` counts hours, or days, since the epoch; `answer` is
-- the notices' own, and 0 of other clocks.
CREATE TABLE IF NOT EXISTS lag_rollups (
    partner TEXT NOT NULL, kind TEXT NOT NULL, clock TEXT NOT NULL, hours INTEGER NOT NULL, start INTEGER NOT NULL,
    bucket INTEGER NOT NULL, answer INTEGER NOT NULL, n INTEGER NOT NULL,
    PRIMARY KEY (partner, kind, clock, hours, start, bucket, answer)
) WITHOUT ROWID;
-- How often anything changed of what `ledger.lagging` tells of a partner's notices of a kind, but for its deliveries'
-- health and the time of day. It follows from how the log was read, not only from what it says.
CREATE TABLE IF NOT EXISTS lag_changes (
    partner TEXT NOT NULL, kind TEXT NOT NULL, n INTEGER NOT NULL, PRIMARY KEY (partner, kind)
) WITHOUT ROWID;
-- The same since ever, for metrics, in few buckets that end where deadlines do: `upper` is an end, in microseconds. As
-- a notice's first delivery only ever turns out to be earlier, the counts at or below any end never fall.
CREATE TABLE IF NOT EXISTS lag_ends (upper INTEGER PRIMARY KEY);
CREATE TABLE IF NOT EXISTS lag_ever (
    partner TEXT NOT NULL, kind TEXT NOT NULL, clock TEXT NOT NULL, upper INTEGER NOT NULL, n INTEGER NOT NULL,
    PRIMARY KEY (partner, kind, clock, upper)
) WITHOUT ROWID;

CREATE TRIGGER IF NOT EXISTS count_toggle AFTER INSERT ON toggles BEGIN
    INSERT INTO counts VALUES ('', '', 'toggles', 1) ON CONFLICT DO UPDATE SET n = n + 1;
END;
CREATE TRIGGER IF NOT EXISTS count_poisoned AFTER INSERT ON poisoned BEGIN
    INSERT INTO counts VALUES ('', '', 'poisoned', 1) ON CONFLICT DO UPDATE SET n = n + 1;
    INSERT INTO counts VALUES ('', '', 'poisoned_open', 1) ON CONFLICT DO UPDATE SET n = n + 1;
END;
CREATE TRIGGER IF NOT EXISTS count_done AFTER UPDATE OF done_at ON poisoned WHEN OLD.done_at IS NULL BEGIN
    UPDATE counts SET n = n - 1 WHERE partner = '' AND kind = '' AND name = 'poisoned_open';
END;
-- Attempts by what came back, `attempt_2` for any 2xx and so on, `attempt_0` for no answer.
CREATE TRIGGER IF NOT EXISTS count_attempt AFTER INSERT ON deliveries BEGIN
    INSERT INTO counts VALUES (NEW.partner, '', 'attempt_' || (COALESCE(NEW.status_code, 0) / 100), 1)
    ON CONFLICT DO UPDATE SET n = n + 1;
END;
CREATE TRIGGER IF NOT EXISTS count_deadline AFTER INSERT ON deadline_events BEGIN
    INSERT INTO counts VALUES (NEW.partner, '', NEW.clock || '_' || NEW.step, NEW.notices)
    ON CONFLICT DO UPDATE SET n = n + NEW.notices;
END;
CREATE TRIGGER IF NOT EXISTS count_escalation AFTER INSERT ON escalations BEGIN
    INSERT INTO counts VALUES ('', '', 'escalation_claimed', 1) ON CONFLICT DO UPDATE SET n = n + 1;
END;
CREATE TRIGGER IF NOT EXISTS count_told AFTER UPDATE OF outcome ON escalations BEGIN
    INSERT INTO counts VALUES ('', '', 'escalation_' || NEW.outcome, 1) ON CONFLICT DO UPDATE SET n = n + 1;
END;
CREATE TRIGGER IF NOT EXISTS count_decision AFTER INSERT ON decisions WHEN NEW.kind = 'deletion_requested' BEGIN
    INSERT INTO counts VALUES ('', '', 'requests', 1) ON CONFLICT DO UPDATE SET n = n + 1;
END;
CREATE TRIGGER IF NOT EXISTS count_consent AFTER INSERT ON consents BEGIN
    INSERT INTO counts VALUES ('', '', 'consents', 1) ON CONFLICT DO UPDATE SET n = n + 1;
    INSERT INTO counts VALUES ('', '', NEW.choice, 1) ON CONFLICT DO UPDATE SET n = n + 1;
END;
CREATE TRIGGER IF NOT EXISTS count_choice AFTER UPDATE OF choice ON consents WHEN OLD.choice <> NEW.choice BEGIN
    INSERT INTO counts VALUES ('', '', OLD.choice, -1) ON CONFLICT DO UPDATE SET n = n - 1;
    INSERT INTO counts VALUES ('', '', NEW.choice, 1) ON CONFLICT DO UPDATE SET n = n + 1;
END;
CREATE TRIGGER IF NOT EXISTS count_notice AFTER INSERT ON notices BEGIN
    INSERT INTO counts VALUES (NEW.partner, NEW.action, NEW.status, 1) ON CONFLICT DO UPDATE SET n = n + 1;
    INSERT INTO lag_rollups VALUES
        (NEW.partner, NEW.action, 'issue', 1, NEW.issued_at / 3600000000, 0, 0, 1),
        (NEW.partner, NEW.action, 'issue', 24, NEW.issued_at / 86400000000, 0, 0, 1)
    ON CONFLICT DO UPDATE SET n = n + 1;
    INSERT INTO lag_changes VALUES (NEW.partner, NEW.action, 1) ON CONFLICT DO UPDATE SET n = n + 1;
END;
CREATE TRIGGER IF NOT EXISTS count_status AFTER UPDATE ON notices WHEN OLD.status <> NEW.status BEGIN
    INSERT INTO counts VALUES (OLD.partner, OLD.action, OLD.status, -1), (NEW.partner, NEW.action, NEW.status, 1)
    ON CONFLICT DO UPDATE SET n = n + excluded.n;
    INSERT INTO lag_changes VALUES (NEW.partner, NEW.action, 1) ON CONFLICT DO UPDATE SET n = n + 1;
END;
CREATE TRIGGER IF NOT EXISTS count_parked AFTER UPDATE ON notices WHEN OLD.parked <> NEW.parked BEGIN
    INSERT INTO counts VALUES (NEW.partner, NEW.action, 'parked', NEW.parked - OLD.parked)
    ON CONFLICT DO UPDATE SET n = n + excluded.n;
    INSERT INTO lag_changes VALUES (NEW.partner, NEW.action, 1) ON CONFLICT DO UPDATE SET n = n + 1;
END;
CREATE TRIGGER IF NOT EXISTS count_parked_queued AFTER UPDATE ON notices
WHEN (OLD.parked AND OLD.status = 'queued') <> (NEW.parked AND NEW.status = 'queued') BEGIN
    INSERT INTO counts VALUES (NEW.partner, NEW.action, 'parked_queued',
        (NEW.parked AND NEW.status = 'queued') - (OLD.parked AND OLD.status = 'queued'))
    ON CONFLICT DO UPDATE SET n = n + excluded.n;
END;
CREATE TRIGGER IF NOT EXISTS roll_up_receive AFTER UPDATE OF delivered_at ON notices
WHEN OLD.delivered_at IS NULL AND NEW.delivered_at IS NOT NULL BEGIN
    INSERT INTO counts VALUES (NEW.partner, NEW.action, 'ever_delivered', 1) ON CONFLICT DO UPDATE SET n = n + 1;
    INSERT INTO lag_rollups VALUES
        (NEW.partner, NEW.action, 'receive', 1, NEW.delivered_at / 3600000000,
            (SELECT bucket FROM lag_buckets WHERE upper >= NEW.delivered_at - NEW.issued_at ORDER BY upper LIMIT 1), 0, 1),
        (NEW.partner, NEW.action, 'receive', 24, NEW.delivered_at / 86400000000,
            (SELECT bucket FROM lag_buckets WHERE upper >= NEW.delivered_at - NEW.issued_at ORDER BY upper LIMIT 1), 0, 1)
    ON CONFLICT DO UPDATE SET n = n + 1;
    INSERT INTO lag_changes VALUES (NEW.partner, NEW.action, 1) ON CONFLICT DO UPDATE SET n = n + 1;
    INSERT INTO lag_ever VALUES (NEW.partner, NEW.action, 'receive',
        (SELECT MIN(upper) FROM lag_ends WHERE upper >= NEW.delivered_at - NEW.issued_at), 1)
    ON CONFLICT DO UPDATE SET n = n + 1;
END;
-- Notices of two lanes are read in any order, and one that stands in both was taken when it was first taken.
CREATE TRIGGER IF NOT EXISTS roll_up_receive_earlier AFTER UPDATE OF delivered_at ON notices
WHEN NEW.delivered_at < OLD.delivered_at BEGIN
    UPDATE lag_rollups SET n = n - 1
    WHERE partner = OLD.partner AND kind = OLD.action AND clock = 'receive'
    AND hours IN (1, 24) AND start IN (OLD.delivered_at / 3600000000, OLD.delivered_at / 86400000000)
    AND start = OLD.delivered_at / (3600000000 * hours)
    AND bucket = (SELECT bucket FROM lag_buckets WHERE upper >= OLD.delivered_at - OLD.issued_at ORDER BY upper LIMIT 1);
    DELETE FROM lag_rollups
    WHERE partner = OLD.partner AND kind = OLD.action AND clock = 'receive'
    AND hours IN (1, 24) AND start IN (OLD.delivered_at / 3600000000, OLD.delivered_at / 86400000000)
    AND start = OLD.delivered_at / (3600000000 * hours) AND n = 0;
    UPDATE lag_ever SET n = n - 1 WHERE partner = OLD.partner AND kind = OLD.action AND clock = 'receive'
    AND upper = (SELECT MIN(upper) FROM lag_ends WHERE upper >= OLD.delivered_at - OLD.issued_at);
    DELETE FROM lag_ever WHERE partner = OLD.partner AND kind = OLD.action AND clock = 'receive' AND n = 0;
    INSERT INTO lag_rollups VALUES
        (NEW.partner, NEW.action, 'receive', 1, NEW.delivered_at / 3600000000,
            (SELECT bucket FROM lag_buckets WHERE upper >= NEW.delivered_at - NEW.issued_at ORDER BY upper LIMIT 1), 0, 1),
        (NEW.partner, NEW.action, 'receive', 24, NEW.delivered_at / 86400000000,
            (SELECT bucket FROM lag_buckets WHERE upper >= NEW.delivered_at - NEW.issued_at ORDER BY upper LIMIT 1), 0, 1)
    ON CONFLICT DO UPDATE SET n = n + 1;
    INSERT INTO lag_changes VALUES (NEW.partner, NEW.action, 1) ON CONFLICT DO UPDATE SET n = n + 1;
    INSERT INTO lag_ever VALUES (NEW.partner, NEW.action, 'receive',
        (SELECT MIN(upper) FROM lag_ends WHERE upper >= NEW.delivered_at - NEW.issued_at), 1)
    ON CONFLICT DO UPDATE SET n = n + 1;
END;
-- What was answered is in the hour and day of the answer that counts. Where that is amended, it moves.
CREATE TRIGGER IF NOT EXISTS roll_up_complete AFTER UPDATE OF completed_at ON notices
WHEN OLD.completed_at IS NULL AND NEW.completed_at IS NOT NULL BEGIN
    INSERT INTO lag_rollups VALUES
        (NEW.partner, NEW.action, 'complete', 1, NEW.completed_at / 3600000000,
            (SELECT bucket FROM lag_buckets WHERE upper >= NEW.completed_at - NEW.issued_at ORDER BY upper LIMIT 1),
            NEW.answer, 1),
        (NEW.partner, NEW.action, 'complete', 24, NEW.completed_at / 86400000000,
            (SELECT bucket FROM lag_buckets WHERE upper >= NEW.completed_at - NEW.issued_at ORDER BY upper LIMIT 1),
            NEW.answer, 1)
    ON CONFLICT DO UPDATE SET n = n + 1;
END;
-- An answer that counts otherwise than before: it was amended; or, where acknowledgements are read before their notices,
-- it was known before it was known that the notice had been extended, and was in time after all.
CREATE TRIGGER IF NOT EXISTS roll_up_answer AFTER UPDATE OF completed_at, ack_status, extended_by ON notices
WHEN OLD.completed_at <> NEW.completed_at OR OLD.answer <> NEW.answer BEGIN
    UPDATE lag_rollups SET n = n - 1
    WHERE partner = OLD.partner AND kind = OLD.action AND clock = 'complete'
    AND hours IN (1, 24) AND start IN (OLD.completed_at / 3600000000, OLD.completed_at / 86400000000)
    AND start = OLD.completed_at / (3600000000 * hours) AND answer = OLD.answer
    AND bucket = (SELECT bucket FROM lag_buckets WHERE upper >= OLD.completed_at - OLD.issued_at ORDER BY upper LIMIT 1);
    DELETE FROM lag_rollups
    WHERE partner = OLD.partner AND kind = OLD.action AND clock = 'complete'
    AND hours IN (1, 24) AND start IN (OLD.completed_at / 3600000000, OLD.completed_at / 86400000000)
    AND start = OLD.completed_at / (3600000000 * hours) AND n = 0;
    INSERT INTO lag_rollups VALUES
        (NEW.partner, NEW.action, 'complete', 1, NEW.completed_at / 3600000000,
            (SELECT bucket FROM lag_buckets WHERE upper >= NEW.completed_at - NEW.issued_at ORDER BY upper LIMIT 1),
            NEW.answer, 1),
        (NEW.partner, NEW.action, 'complete', 24, NEW.completed_at / 86400000000,
            (SELECT bucket FROM lag_buckets WHERE upper >= NEW.completed_at - NEW.issued_at ORDER BY upper LIMIT 1),
            NEW.answer, 1)
    ON CONFLICT DO UPDATE SET n = n + 1;
    INSERT INTO lag_changes VALUES (NEW.partner, NEW.action, 1) ON CONFLICT DO UPDATE SET n = n + 1;
END;
-- The partner took its final answer back, and gave none in its place that completes the notice.
CREATE TRIGGER IF NOT EXISTS roll_up_taken_back AFTER UPDATE OF completed_at ON notices
WHEN OLD.completed_at IS NOT NULL AND NEW.completed_at IS NULL BEGIN
    UPDATE lag_rollups SET n = n - 1
    WHERE partner = OLD.partner AND kind = OLD.action AND clock = 'complete'
    AND hours IN (1, 24) AND start IN (OLD.completed_at / 3600000000, OLD.completed_at / 86400000000)
    AND start = OLD.completed_at / (3600000000 * hours) AND answer = OLD.answer
    AND bucket = (SELECT bucket FROM lag_buckets WHERE upper >= OLD.completed_at - OLD.issued_at ORDER BY upper LIMIT 1);
    DELETE FROM lag_rollups
    WHERE partner = OLD.partner AND kind = OLD.action AND clock = 'complete'
    AND hours IN (1, 24) AND start IN (OLD.completed_at / 3600000000, OLD.completed_at / 86400000000)
    AND start = OLD.completed_at / (3600000000 * hours) AND n = 0;
    INSERT INTO lag_changes VALUES (NEW.partner, NEW.action, 1) ON CONFLICT DO UPDATE SET n = n + 1;
END;
-- Each notice once, by its first final answer, whatever was amended since: what metrics count never falls.
CREATE TRIGGER IF NOT EXISTS count_answered AFTER UPDATE OF completed_at, answered_first_at ON notices
WHEN COALESCE(OLD.answered_first_at, OLD.completed_at) IS NULL
AND COALESCE(NEW.answered_first_at, NEW.completed_at) IS NOT NULL BEGIN
    INSERT INTO lag_ever VALUES (NEW.partner, NEW.action, 'complete',
        (SELECT MIN(upper) FROM lag_ends
            WHERE upper >= COALESCE(NEW.answered_first_at, NEW.completed_at) - NEW.issued_at), 1)
    ON CONFLICT DO UPDATE SET n = n + 1;
END;
-- Of what is to be erased, how much is only suppressed: completed by a contract, or not completed by it.
CREATE TRIGGER IF NOT EXISTS count_suppressed AFTER UPDATE OF outcome ON notices
WHEN NEW.action = 'erase' AND (OLD.outcome IS 'suppressed') <> (NEW.outcome IS 'suppressed') BEGIN
    INSERT INTO counts VALUES (NEW.partner, NEW.action, 'suppressed', 0) ON CONFLICT DO NOTHING;
    UPDATE counts SET n = n + (NEW.outcome IS 'suppressed') - (OLD.outcome IS 'suppressed')
    WHERE partner = NEW.partner AND kind = NEW.action AND name = 'suppressed';
END;
CREATE TRIGGER IF NOT EXISTS count_late_issue AFTER INSERT ON notices
WHEN NEW.legal_receive_by IS NOT NULL OR NEW.legal_complete_by IS NOT NULL BEGIN
    INSERT INTO counts VALUES (NEW.partner, NEW.action, 'issued_late', 1) ON CONFLICT DO UPDATE SET n = n + 1;
END;
CREATE TRIGGER IF NOT EXISTS change_due AFTER UPDATE OF extended_by ON notices
WHEN OLD.extended_by IS NOT NEW.extended_by BEGIN
    INSERT INTO lag_changes VALUES (NEW.partner, NEW.action, 1) ON CONFLICT DO UPDATE SET n = n + 1;
END;
