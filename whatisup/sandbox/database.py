"""The state file: its tables, who may read it, and what a file of an older version is made into.

Rule: the file is this process's alone, and holds private keys.

`synchronous=NORMAL` with a write-ahead log survives the death of the process (not of the machine), which is what a
sandbox promises. Without a file the same tables live in SQLite's private temporary database, which spills to disk.
"""

from __future__ import annotations

import os
import sqlite3
from typing import Final

_VERSION: Final = 2
_SCHEMA: Final = """
CREATE TABLE secrets (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE accounts (
    number TEXT PRIMARY KEY, lid TEXT NOT NULL UNIQUE, name TEXT, identity BLOB NOT NULL, raw_id INTEGER NOT NULL,
    registration_id INTEGER NOT NULL, next_key_index INTEGER NOT NULL DEFAULT 1,
    next_prekey_id INTEGER NOT NULL DEFAULT 1, created_at INTEGER NOT NULL, tenant TEXT
) WITHOUT ROWID;
CREATE TABLE devices (
    row INTEGER PRIMARY KEY, number TEXT NOT NULL REFERENCES accounts ON DELETE CASCADE, device INTEGER NOT NULL,
    key_index INTEGER NOT NULL, noise BLOB NOT NULL, identity BLOB NOT NULL, registration_id INTEGER NOT NULL,
    skey_id INTEGER NOT NULL, skey BLOB NOT NULL, skey_signature BLOB NOT NULL, signed_identity BLOB NOT NULL,
    routing_info BLOB NOT NULL UNIQUE, linked_at INTEGER NOT NULL, UNIQUE (number, device)
);
CREATE TABLE prekeys (
    device INTEGER NOT NULL REFERENCES devices ON DELETE CASCADE, key_id INTEGER NOT NULL, public BLOB NOT NULL,
    is_taken INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (device, key_id)
) WITHOUT ROWID;
"""

_MESSAGES: Final = """
CREATE TABLE queue (
    position INTEGER PRIMARY KEY AUTOINCREMENT, device INTEGER NOT NULL REFERENCES devices ON DELETE CASCADE,
    kind TEXT NOT NULL, id TEXT NOT NULL, peer TEXT NOT NULL, participant TEXT NOT NULL, type TEXT NOT NULL,
    clearing TEXT NOT NULL, queued_at INTEGER NOT NULL, stanza BLOB NOT NULL
);
CREATE INDEX queue_of_device ON queue (device, position);
CREATE INDEX queue_of_id ON queue (device, kind, id);
CREATE TABLE sent (
    position INTEGER PRIMARY KEY AUTOINCREMENT, number TEXT NOT NULL, device INTEGER NOT NULL, id TEXT NOT NULL,
    t INTEGER NOT NULL, reached BLOB NOT NULL, UNIQUE (number, device, id)
);
CREATE TABLE written (number TEXT NOT NULL, peer TEXT NOT NULL, PRIMARY KEY (number, peer)) WITHOUT ROWID;
CREATE TABLE tokens (
    issuer TEXT NOT NULL, holder TEXT NOT NULL, token BLOB NOT NULL, t INTEGER NOT NULL, PRIMARY KEY (issuer, holder)
) WITHOUT ROWID;
CREATE TABLE blocks (number TEXT NOT NULL, blocked TEXT NOT NULL, PRIMARY KEY (number, blocked)) WITHOUT ROWID;
"""
_FROM_1: Final = f"ALTER TABLE accounts ADD COLUMN tenant TEXT; DROP TABLE queue; {_MESSAGES}"


def connect(path: str | None) -> sqlite3.Connection:
    """Open or create the file (mode 0600), or a private temporary database. Raises `OSError`, `sqlite3.Error`."""
    if path is not None:
        # Invariant: the file holds private keys, so nobody else may read it, not even between create and chmod.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    connection = sqlite3.connect(path or "", isolation_level=None, timeout=0.5, check_same_thread=False)
    try:
        # Exclusive: a second sandbox on the same file is refused instead of giving keys out twice.
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("PRAGMA foreign_keys = ON")
        if path is None:
            connection.execute("PRAGMA journal_mode = MEMORY")
            connection.execute("PRAGMA synchronous = OFF")
        else:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute("PRAGMA wal_autocheckpoint = 4000")  # pages; each checkpoint waits for the disk
            connection.execute("PRAGMA temp_store = MEMORY")  # what a unit can be taken back with
        _prepare(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version == _VERSION:
        connection.execute("BEGIN EXCLUSIVE")
        connection.execute("COMMIT")
        return
    if version == 1:
        connection.executescript(f"BEGIN EXCLUSIVE; {_FROM_1} PRAGMA user_version = {_VERSION}; COMMIT;")
        return
    if version:
        raise sqlite3.DatabaseError(f"it was written by version {version}, this is version {_VERSION}")
    connection.executescript(f"BEGIN EXCLUSIVE; {_SCHEMA} {_MESSAGES} PRAGMA user_version = {_VERSION}; COMMIT;")
