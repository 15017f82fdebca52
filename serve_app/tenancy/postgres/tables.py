"""The tables of the tenancy store in Postgres: those of `sqlite_tables`, in one schema."""

from __future__ import annotations

from pg8000.native import Connection

VERSION = 1

SCHEMA = "pointsman"
"""The schema that all tables are in. It is made on first use, if the user may."""

_LOCK = 0x706F696E
"""The advisory lock under which tables are made: several processes start at once."""

_TABLES = (
    f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}",
    "CREATE TABLE IF NOT EXISTS versions (name text PRIMARY KEY, value bigint NOT NULL)",
    # `identity` tells one database from another that has taken its place.
    """
    INSERT INTO versions VALUES
        ('keys', 0), ('usage', 0), ('identity', floor(random() * 9007199254740991)::bigint)
    ON CONFLICT DO NOTHING
    """,
    """
    CREATE TABLE IF NOT EXISTS keys (
        id text PRIMARY KEY,
        tenant text NOT NULL,
        salt text NOT NULL,
        hash text NOT NULL,
        expires text,
        admin boolean NOT NULL,
        proxy boolean NOT NULL,
        created text NOT NULL
    )
    """,
    "CREATE TABLE IF NOT EXISTS revocations (id text PRIMARY KEY, at text NOT NULL)",
    """
    CREATE TABLE IF NOT EXISTS usage (
        day text COLLATE "C" NOT NULL,
        tenant text COLLATE "C" NOT NULL,
        lane text COLLATE "C" NOT NULL,
        requests bigint NOT NULL,
        prompt bigint NOT NULL,
        cached bigint NOT NULL,
        completion bigint NOT NULL,
        PRIMARY KEY (day, tenant, lane)
    )
    """,
    """
    CREATE TABLE IF NOT EXISTS totals (
        period text COLLATE "C" NOT NULL,
        tenant text COLLATE "C" NOT NULL,
        requests bigint NOT NULL,
        prompt bigint NOT NULL,
        cached bigint NOT NULL,
        completion bigint NOT NULL,
        version bigint NOT NULL,
        PRIMARY KEY (period, tenant)
    )
    """,
    "CREATE INDEX IF NOT EXISTS totals_version ON totals (version)",
    """
    CREATE TABLE IF NOT EXISTS writers (
        writer text PRIMARY KEY,
        batch bigint NOT NULL,
        file bigint NOT NULL,
        "offset" bigint NOT NULL,
        is_recovered boolean NOT NULL DEFAULT false,
        seen timestamptz NOT NULL DEFAULT now()
    )
    """,
    """
    CREATE TABLE IF NOT EXISTS ledger (
        is_only boolean PRIMARY KEY CHECK (is_only),
        epoch bigint NOT NULL,
        boot text NOT NULL,
        granted_until double precision,
        -- A JSON list.
        holders text
    )
    """,
    "INSERT INTO ledger VALUES (true, 0, '', NULL, NULL) ON CONFLICT DO NOTHING",
    """
    CREATE TABLE IF NOT EXISTS open (
        writer text NOT NULL,
        id bigint NOT NULL,
        day text COLLATE "C" NOT NULL,
        tenant text COLLATE "C" NOT NULL,
        lane text COLLATE "C" NOT NULL,
        prompt bigint NOT NULL,
        completion bigint NOT NULL,
        reserved double precision NOT NULL,
        PRIMARY KEY (writer, id)
    )
    """,
)

_NOTE_VERSION = """
INSERT INTO versions VALUES ('schema', :version)
ON CONFLICT (name) DO UPDATE SET value = excluded.value
"""


def make_tables(db: Connection) -> None:
    """Make the tables that an earlier version lacks: they are only ever added."""
    found = db.run("SELECT to_regclass(:name) IS NOT NULL", name=f"{SCHEMA}.versions")
    if found == [[True]]:
        rows = db.run("SELECT value FROM versions WHERE name = 'schema'")
        if rows and rows[0][0] >= VERSION:
            return
    db.run("BEGIN")
    try:
        db.run("SELECT pg_advisory_xact_lock(:key)", key=_LOCK)
        for statement in _TABLES:
            db.run(statement)
        db.run(_NOTE_VERSION, version=VERSION)
    except BaseException:
        db.run("ROLLBACK")
        raise
    db.run("COMMIT")
