-- Times are microseconds since the epoch, UTC. All of it follows from `rescind.disclosures`, in whose order it was read.
CREATE TABLE IF NOT EXISTS offsets (partition INTEGER PRIMARY KEY, next INTEGER NOT NULL);

-- `n` is this file's own, since each leaf repeats it.
CREATE TABLE IF NOT EXISTS exports (
    n INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, dataset TEXT NOT NULL, version TEXT NOT NULL, partner TEXT NOT NULL,
    purpose TEXT NOT NULL, regime TEXT NOT NULL, imported INTEGER NOT NULL, exported_at INTEGER,
    opened_at INTEGER NOT NULL,
    closed_at INTEGER, watermark TEXT, rows TEXT, output TEXT, subjects INTEGER, -- NULL until it is closed
    settled_at INTEGER, withdrawn INTEGER, withdrawal TEXT, manifest TEXT, -- NULL until it is settled
    requested_at INTEGER, -- when everybody who is withdrawn had been asked for; NULL until then
    -- When the partner had it.
    disclosed_at INTEGER GENERATED ALWAYS AS (
        CASE WHEN closed_at IS NULL THEN NULL ELSE COALESCE(exported_at, closed_at) END
    ) VIRTUAL
);
CREATE INDEX IF NOT EXISTS exports_opened ON exports (opened_at, id);
CREATE INDEX IF NOT EXISTS exports_unfinished ON exports (n) WHERE closed_at IS NOT NULL AND requested_at IS NULL;

CREATE TABLE IF NOT EXISTS blocks (
    export INTEGER NOT NULL, number INTEGER NOT NULL, first TEXT NOT NULL, last TEXT NOT NULL, subjects INTEGER NOT NULL,
    PRIMARY KEY (export, number)
) WITHOUT ROWID;
-- A leaf is a kilobyte or more, which a table without rowid would put on pages of its own.
CREATE TABLE IF NOT EXISTS leaves (
    export INTEGER NOT NULL, number INTEGER NOT NULL, first TEXT NOT NULL, data BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS leaves_first ON leaves (export, first);
CREATE INDEX IF NOT EXISTS leaves_number ON leaves (export, number);

-- The lists of those who are withdrawn, of which one per export comes to count.
CREATE TABLE IF NOT EXISTS withdrawals (
    export INTEGER NOT NULL, withdrawal TEXT NOT NULL, number INTEGER NOT NULL, subjects INTEGER NOT NULL,
    block BLOB NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS withdrawals_number ON withdrawals (export, withdrawal, number);
