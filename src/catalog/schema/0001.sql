-- Catalog, version 1. Ids are the 16 bytes of a UUID, times milliseconds since 1970 UTC, lists and states JSON.

CREATE TABLE fleet (
    one          INTEGER PRIMARY KEY CHECK (one = 1),
    revision     INTEGER NOT NULL,
    tuf_revision INTEGER NOT NULL
) STRICT;
INSERT INTO fleet VALUES (1, 1, 0);

CREATE TABLE setting (
    name  TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE tuf_file (
    name    TEXT PRIMARY KEY,
    role    TEXT NOT NULL,
    version INTEGER,
    bytes   BLOB NOT NULL
) STRICT;
CREATE INDEX tuf_file_role ON tuf_file (role, version);

CREATE TABLE site (
    id           BLOB PRIMARY KEY,
    name         TEXT NOT NULL UNIQUE,
    hub_fallback TEXT NOT NULL
) STRICT;
INSERT INTO site VALUES (x'00000000000070008000000000000001', 'default', 'when-none');

CREATE TABLE subnet (
    cidr TEXT PRIMARY KEY,
    site BLOB NOT NULL REFERENCES site
) STRICT, WITHOUT ROWID;
CREATE INDEX subnet_site ON subnet (site);

CREATE TABLE invite (
    token     BLOB PRIMARY KEY,
    role      TEXT NOT NULL,
    site      BLOB REFERENCES site,
    uses      INTEGER NOT NULL,
    uses_left INTEGER NOT NULL CHECK (uses_left >= 0),
    expires   INTEGER NOT NULL
) STRICT;

-- `invite` is the token a machine joined with; it outlives the invite's row.
CREATE TABLE machine (
    id              BLOB PRIMARY KEY,
    role            TEXT NOT NULL CHECK (role IN ('site-server', 'agent')),
    name            TEXT NOT NULL,
    site            BLOB NOT NULL REFERENCES site,
    key             BLOB NOT NULL UNIQUE,
    certificate     TEXT NOT NULL,
    capabilities    TEXT NOT NULL,
    address         TEXT,
    joined          INTEGER NOT NULL,
    seen            INTEGER NOT NULL,
    reported        INTEGER NOT NULL,
    report_sequence INTEGER,
    invite          BLOB NOT NULL
) STRICT;
CREATE INDEX machine_site ON machine (site, role);
CREATE INDEX machine_name ON machine (role, name);

-- `current` is the highest version's number, 0 before the first release.
CREATE TABLE package (
    id              BLOB PRIMARY KEY,
    name            TEXT NOT NULL UNIQUE,
    source          TEXT NOT NULL,
    open            INTEGER NOT NULL,
    platforms       TEXT NOT NULL,
    current         INTEGER NOT NULL DEFAULT 0,
    refreshes_ended INTEGER NOT NULL DEFAULT 0,
    last_refresh    TEXT,
    failure         TEXT
) STRICT;

-- A package has at most one refresh that runs and one that waits behind it.
CREATE TABLE refresh (
    ticket  INTEGER PRIMARY KEY AUTOINCREMENT,
    package BLOB NOT NULL REFERENCES package,
    verify  INTEGER NOT NULL,
    label   TEXT,
    queued  INTEGER NOT NULL,
    started INTEGER
) STRICT;
CREATE UNIQUE INDEX refresh_queued ON refresh (package) WHERE started IS NULL;
CREATE UNIQUE INDEX refresh_running ON refresh (package) WHERE started IS NOT NULL;

CREATE TABLE version (
    package      BLOB NOT NULL REFERENCES package,
    number       INTEGER NOT NULL CHECK (number > 0),
    label        TEXT,
    manifest     TEXT NOT NULL,
    sha256       BLOB NOT NULL,
    manifest_len INTEGER NOT NULL,
    bytes        INTEGER NOT NULL,
    files        INTEGER NOT NULL,
    released     INTEGER NOT NULL,
    PRIMARY KEY (package, number)
) STRICT, WITHOUT ROWID;
CREATE INDEX version_manifest ON version (manifest);

CREATE TABLE codebase (
    server   BLOB NOT NULL REFERENCES machine,
    manifest TEXT NOT NULL,
    state    TEXT NOT NULL,
    PRIMARY KEY (server, manifest)
) STRICT, WITHOUT ROWID;
CREATE INDEX codebase_manifest ON codebase (manifest);

CREATE TABLE install (
    machine  BLOB NOT NULL REFERENCES machine,
    package  BLOB NOT NULL REFERENCES package,
    report   TEXT NOT NULL,
    PRIMARY KEY (machine, package)
) STRICT, WITHOUT ROWID;
CREATE INDEX install_package ON install (package);

CREATE TABLE collection (
    id   BLOB PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
) STRICT;
INSERT INTO collection VALUES (x'00000000000070008000000000000002', 'all machines');

CREATE TABLE member (
    collection BLOB NOT NULL REFERENCES collection,
    machine    BLOB NOT NULL REFERENCES machine,
    PRIMARY KEY (collection, machine)
) STRICT, WITHOUT ROWID;
CREATE INDEX member_machine ON member (machine);

CREATE TABLE policy (
    id         BLOB PRIMARY KEY,
    name       TEXT NOT NULL UNIQUE,
    package    BLOB NOT NULL REFERENCES package,
    collection BLOB NOT NULL REFERENCES collection
) STRICT;
CREATE INDEX policy_package ON policy (package);

CREATE TABLE admin_answer (
    key     TEXT PRIMARY KEY,
    request BLOB NOT NULL,
    answer  TEXT NOT NULL,
    time    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX admin_answer_time ON admin_answer (time);

CREATE TABLE audit (
    number  INTEGER PRIMARY KEY AUTOINCREMENT,
    time    INTEGER NOT NULL,
    actor   TEXT NOT NULL,
    action  TEXT NOT NULL,
    subject TEXT NOT NULL
) STRICT;
CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END;
CREATE TRIGGER audit_is_not_deleted BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END;
