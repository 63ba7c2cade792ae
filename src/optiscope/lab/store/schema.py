"""The store's file: opening one, its tables and their migrations, and what went wrong in a sentence."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ...errors import BadInput

APPLICATION = 0x4F505453
"""What SQLite's header says the file is: "OPTS"."""

PATIENCE = 60.0
"""Seconds to wait for another process that is writing."""

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE pieces (
            address TEXT PRIMARY KEY,
            made TEXT NOT NULL,          -- UTC, ISO 8601
            facts TEXT NOT NULL,         -- JSON: task, seeds, steps, every, dtype, program
            environment TEXT NOT NULL,   -- JSON
            settings INTEGER NOT NULL,   -- how many runs it has
            compile_seconds REAL NOT NULL,
            run_seconds REAL NOT NULL
        )""",
        """CREATE TABLE runs (
            id INTEGER PRIMARY KEY,
            piece TEXT NOT NULL REFERENCES pieces ON DELETE CASCADE,
            place INTEGER NOT NULL,      -- which of the piece's settings
            rule TEXT NOT NULL,
            setting TEXT NOT NULL,       -- JSON
            task TEXT NOT NULL,
            seeds INTEGER NOT NULL,
            first_seed INTEGER NOT NULL,
            steps INTEGER NOT NULL,
            dtype TEXT NOT NULL,
            final REAL,                  -- the median over seeds; NULL for infinity
            diverged INTEGER NOT NULL,
            UNIQUE (piece, place)
        )""",
        """CREATE TABLE arrays (
            run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
            name TEXT NOT NULL,
            dtype TEXT NOT NULL,
            shape TEXT NOT NULL,         -- JSON; the first axis is the seeds'
            bytes BLOB NOT NULL,         -- little-endian, C order
            PRIMARY KEY (run, name)
        ) WITHOUT ROWID""",
        "CREATE INDEX runs_by_rule_and_task ON runs (rule, task)",
    ),
    (
        """CREATE TABLE trainings (
            address TEXT PRIMARY KEY,
            made TEXT NOT NULL,          -- UTC, ISO 8601: when it was last written
            facts TEXT NOT NULL,         -- JSON: rule, tasks, steps, unroll, estimator, seed, dtype
            environment TEXT NOT NULL,   -- JSON
            history TEXT NOT NULL        -- JSON: a row a report
        )""",
    ),
)
"""What makes each version of the schema from the one before it: version k is the first k of them."""


def connect(path: Path) -> sqlite3.Connection:
    """A connection to the store at `path`, made or brought up to date where need be.

    Raises:
        BadInput: the file cannot be opened, is locked, or is something else's.
    """
    with sentences(path):
        connection = sqlite3.connect(path, timeout=PATIENCE, isolation_level=None)
        try:
            _prepare(connection, path)
        except BaseException:
            connection.close()
            raise
    return connection


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    with transaction(connection, "DEFERRED"):  # one look: another process may be making the store right now
        version = _state(connection, path)
    if version < len(MIGRATIONS):
        with transaction(connection):
            # Another process may have been faster: only inside the transaction does the version stay what it is.
            for statements in MIGRATIONS[_state(connection, path) :]:
                for statement in statements:
                    connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION}")
            connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
    connection.execute("PRAGMA journal_mode = WAL")
    # A commit then survives the death of the process; a power cut may take the last ones and corrupts nothing.
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA foreign_keys = ON")


def _state(connection: sqlite3.Connection, path: Path) -> int:
    """The version of the schema, 0 for an empty file."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (found,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application != APPLICATION and (tables or found or application):
        raise BadInput(f"{path} is another program's database; give the store a file of its own")
    if found > len(MIGRATIONS):
        raise BadInput(f"{path} is of a newer Optiscope (schema {found}); update this one, or use another file")
    return int(found)


@contextmanager
def transaction(connection: sqlite3.Connection, kind: str = "IMMEDIATE") -> Iterator[None]:
    """All that is written inside, or nothing; what is read is of one moment."""
    connection.execute(f"BEGIN {kind}")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # SQLite ends some failed ones itself
            connection.execute("ROLLBACK")
        raise


REASONS = {
    "SQLITE_FULL": "the disk is full; finished runs are kept: make room, and run the same command again",
    "SQLITE_BUSY": f"another process has kept it locked for {PATIENCE:.0f} s; end that one, or use another file",
    "SQLITE_LOCKED": f"another process has kept it locked for {PATIENCE:.0f} s; end that one, or use another file",
    "SQLITE_NOTADB": "it is no SQLite file; give the store a file of its own",
    "SQLITE_CORRUPT": "it is damaged; restore it from a copy, or use another file",
    "SQLITE_READONLY": "it cannot be written to; use another file",
    "SQLITE_CANTOPEN": "it cannot be opened; is its folder there, and may you write to it?",
    "SQLITE_IOERR": "reading or writing it failed; is the disk full, or gone?",
}


@contextmanager
def sentences(path: Path) -> Iterator[None]:
    """SQLite's errors as bad input."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        name = getattr(error, "sqlite_errorname", "")
        reason = next((reason for code, reason in REASONS.items() if name.startswith(code)), str(error))
        raise BadInput(f"the store {path}: {reason}") from error


@contextmanager
def decoding(path: Path) -> Iterator[None]:
    """What cannot be read from a row as bad input: only another program's hand can have written it."""
    try:
        yield
    except (ValueError, TypeError, LookupError) as error:
        raise BadInput(f"the store {path}: {REASONS['SQLITE_CORRUPT']}") from error
