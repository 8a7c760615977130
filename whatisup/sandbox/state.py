"""What the sandbox remembers: authority, accounts, companions, one-time prekeys. One SQLite file.

Rule: nothing here is told to anybody before `settle` has put it on disk (`units.py`; the tables are in `database.py`).

The queues and the ledger of messages are tables of the same file (`waiting.py`, `ledger.py`).
Calls run on the event loop: each takes microseconds, an upload of 812 prekeys about two milliseconds.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

from whatisup.crypto import KeyPair
from whatisup.errors import StoreUnavailable
from whatisup.protocol.prekeys import PublicIdentity, PublicSignedPrekey
from whatisup.sandbox.accounts import Account, Companion, next_device
from whatisup.sandbox.database import connect
from whatisup.sandbox.units import Units

MAX_PREKEYS: Final = 20_000
"""How many one-time prekeys of one device are remembered, used ones included: none is ever given out twice."""

_MAX_CACHED: Final = 20_000  # accounts, or lists of companions, that are kept in memory
_COMPANION_COLUMNS: Final = (
    "d.row, d.number, a.lid, d.device, d.key_index, d.noise, d.signed_identity, d.routing_info, d.linked_at,"
    " d.registration_id, d.identity, d.skey_id, d.skey, d.skey_signature"
)
_Row: TypeAlias = tuple[Any, ...]


class State(Units):
    """The tables, behind functions in the sandbox's words. Not for two threads."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        super().__init__(connection)
        self.on_rollback(self.forget_cached)
        # The file is ours alone, so what was read stays true until we write it.
        self._by_number: dict[str, Account | None] = {}
        self._by_lid: dict[str, Account | None] = {}
        self._linked: dict[str, list[Companion]] = {}

    @classmethod
    def open(cls, path: str | None) -> State:
        """Open or create the state file (mode 0600), or a private temporary database.

        Raises:
            StoreUnavailable: the file cannot be opened, is another's, or belongs to another version.
        """
        try:
            return cls(connect(path))
        except (OSError, sqlite3.Error) as error:
            raise StoreUnavailable(f"cannot open the sandbox's state file: {error}") from error

    def forget_cached(self) -> None:
        """Read accounts and devices anew: someone else wrote their rows."""
        self._by_number.clear()
        self._by_lid.clear()
        self._linked.clear()

    # the sandbox itself

    def secret(self, name: str, make: Callable[[], bytes]) -> bytes:
        """Return the bytes kept under that name, made now if there are none."""
        row = self._db.execute("SELECT value FROM secrets WHERE name = ?", (name,)).fetchone()
        if row is not None:
            return bytes(row[0])
        value = make()
        with self.writing() as cursor:
            cursor.execute("INSERT INTO secrets VALUES (?, ?)", (name, value))
        return value

    def replace_secret(self, name: str, value: bytes) -> None:
        """Keep other bytes under that name."""
        with self.writing() as cursor:
            cursor.execute("INSERT OR REPLACE INTO secrets VALUES (?, ?)", (name, value))

    def count(self, name: str) -> int:
        """Count one up under that name; the first answer is 1."""
        with self.writing() as cursor:
            row = cursor.execute(
                "INSERT INTO counters VALUES (?, 1) ON CONFLICT DO UPDATE SET value = value + 1 RETURNING value",
                (name,),
            ).fetchone()
        return int(row[0])

    # accounts

    def add_account(self, account: Account) -> bool:
        """Add an account; False where its number or hidden id is taken."""
        values = (
            account.number,
            account.lid,
            account.name,
            account.identity.private + account.identity.public,
            account.raw_id,
            account.registration_id,
            account.created_at,
            account.tenant,
        )
        with self.writing() as cursor:
            cursor.execute(
                "INSERT INTO accounts (number, lid, name, identity, raw_id, registration_id, created_at, tenant)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                values,
            )
            self._by_number.pop(account.number, None)
            self._by_lid.pop(account.lid, None)
            return cursor.rowcount == 1

    def account(self, number: str) -> Account | None:
        """Return the account of that number."""
        return self._cached(self._by_number, number, "WHERE number = ?")

    def account_of_lid(self, lid: str) -> Account | None:
        """Return the account of that hidden id."""
        return self._cached(self._by_lid, lid, "WHERE lid = ?")

    def _cached(self, cache: dict[str, Account | None], key: str, rest: str) -> Account | None:
        if key in cache:
            return cache[key]
        if len(cache) >= _MAX_CACHED:
            cache.clear()
        found = cache[key] = next(iter(self._accounts(rest, (key,))), None)
        return found

    def count_accounts(self) -> int:
        """Return how many accounts there are."""
        return int(self._db.execute("SELECT count(*) FROM accounts").fetchone()[0])

    def accounts(self) -> list[Account]:
        """Return all accounts, by number."""
        return self._accounts("ORDER BY number", ())

    def _accounts(self, rest: str, values: tuple[str, ...]) -> list[Account]:
        rows = self._db.execute(
            f"SELECT number, lid, name, identity, raw_id, registration_id, created_at, tenant FROM accounts {rest}",  # noqa: S608 -- both parts are this class's own text
            values,
        )
        return [Account(n, lid, name, KeyPair(key[:32], key[32:]), *rest) for n, lid, name, key, *rest in rows]

    def rename(self, number: str, name: str) -> None:
        """Give an account another push name."""
        with self.writing() as cursor:
            cursor.execute("UPDATE accounts SET name = ? WHERE number = ?", (name, number))
            self.forget_cached()

    def adopt(self, number: str, tenant: str) -> None:
        """Give an account a tenant, if it has none."""
        with self.writing() as cursor:
            cursor.execute("UPDATE accounts SET tenant = ? WHERE number = ? AND tenant IS NULL", (tenant, number))
            self.forget_cached()

    def next_key_index(self, number: str) -> int:
        """Use up the account's next key index; none is ever used twice, whatever becomes of the link."""
        return self._use_up("next_key_index", number)

    def next_phone_prekey(self, number: str) -> int:
        """Use up the id of the phone's next one-time prekey."""
        return self._use_up("next_prekey_id", number)

    def _use_up(self, column: str, number: str) -> int:
        with self.writing() as cursor:
            row = cursor.execute(
                f"UPDATE accounts SET {column} = {column} + 1 WHERE number = ? RETURNING {column} - 1",  # noqa: S608 -- the column is this class's own text
                (number,),
            ).fetchone()
        return int(row[0])

    # companions

    def free_device(self, number: str, reserved: Sequence[int] = ()) -> int | None:
        """Return the account's smallest unused device number that is not reserved, `None` when all are taken."""
        rows = self._db.execute("SELECT device FROM devices WHERE number = ?", (number,))
        return next_device({*(device for (device,) in rows), *reserved})

    def link(self, companion: Companion) -> Companion:
        """Add a companion (its `row` is ignored) and return it as stored."""
        skey = companion.public.signed_prekey
        values = (
            *(companion.number, companion.device, companion.key_index, companion.noise_public),
            *(companion.public.identity, companion.public.registration_id, skey.key_id, skey.public, skey.signature),
            *(companion.signed_identity, companion.routing_info, companion.linked_at),
        )
        with self.writing() as cursor:
            cursor.execute(
                "INSERT INTO devices (number, device, key_index, noise, identity, registration_id, skey_id, skey,"
                " skey_signature, signed_identity, routing_info, linked_at) VALUES (?,?,?,?,?,?,?,?,?,?,?,?)",
                values,
            )
            self._linked.pop(companion.number, None)
        stored = self.companion(companion.number, companion.device)
        if stored is None:
            raise AssertionError("a device that was just inserted is missing")
        return stored

    def unlink(self, row: int) -> None:
        """Forget a companion with its prekeys and queue."""
        with self.writing() as cursor:
            self._forget_row(cursor, row)
            cursor.execute("DELETE FROM devices WHERE row = ?", (row,))

    def _forget_row(self, cursor: sqlite3.Cursor, row: int) -> None:
        for (number,) in cursor.execute("SELECT number FROM devices WHERE row = ?", (row,)):
            self._linked.pop(number, None)

    def companion(self, number: str, device: int) -> Companion | None:
        """Return one companion."""
        return next((found for found in self._linked_to(number) if found.device == device), None)

    def companions(self, number: str) -> list[Companion]:
        """Return an account's companions, by device number."""
        return list(self._linked_to(number))

    def _linked_to(self, number: str) -> list[Companion]:
        found = self._linked.get(number)
        if found is None:
            if len(self._linked) >= _MAX_CACHED:
                self._linked.clear()
            found = self._linked[number] = self._companions("WHERE d.number = ? ORDER BY d.device", (number,))
        return found

    def companion_of_routing(self, routing_info: bytes) -> Companion | None:
        """Return the companion that was given this routing info."""
        found = self._companions("WHERE d.routing_info = ?", (routing_info,))
        return found[0] if found else None

    def _companions(self, rest: str, values: _Row) -> list[Companion]:
        rows = self._db.execute(
            f"SELECT {_COMPANION_COLUMNS} FROM devices d JOIN accounts a USING (number) {rest}",  # noqa: S608 -- both parts are this module's own text
            values,
        )
        return [_companion(row) for row in rows]

    # prekeys

    def set_signed_prekey(self, row: int, skey: PublicSignedPrekey) -> None:
        """Replace a companion's signed prekey."""
        with self.writing() as cursor:
            cursor.execute(
                "UPDATE devices SET skey_id = ?, skey = ?, skey_signature = ? WHERE row = ?",
                (skey.key_id, skey.public, skey.signature, row),
            )
            self._forget_row(cursor, row)

    def add_prekeys(self, row: int, prekeys: Sequence[tuple[int, bytes]], skey: PublicSignedPrekey) -> bool:
        """Take an upload: ids and publics, and the signed prekey with them. False where it would be too many.

        A key that is known already stays as it is, used or not; another key under a known id replaces it, unused.
        """
        with self.writing() as cursor:
            known = cursor.execute("SELECT count(*) FROM prekeys WHERE device = ?", (row,)).fetchone()[0]
            if known + len(prekeys) > MAX_PREKEYS:
                return False
            cursor.executemany(
                "INSERT INTO prekeys (device, key_id, public) VALUES (?, ?, ?) ON CONFLICT DO UPDATE"
                " SET public = excluded.public, is_taken = 0 WHERE public <> excluded.public",
                ((row, key_id, public) for key_id, public in prekeys),
            )
            cursor.execute(
                "UPDATE devices SET skey_id = ?, skey = ?, skey_signature = ? WHERE row = ?",
                (skey.key_id, skey.public, skey.signature, row),
            )
            self._forget_row(cursor, row)
        return True

    def count_prekeys(self, row: int) -> int:
        """Return how many one-time prekeys are left."""
        found = self._db.execute("SELECT count(*) FROM prekeys WHERE device = ? AND is_taken = 0", (row,)).fetchone()
        return int(found[0])

    def prekeys(self, row: int) -> list[tuple[int, bytes]]:
        """Return the one-time prekeys that are left, by id."""
        return self._db.execute(
            "SELECT key_id, public FROM prekeys WHERE device = ? AND is_taken = 0 ORDER BY key_id", (row,)
        ).fetchall()

    def take_prekey(self, row: int) -> tuple[int, bytes] | None:
        """Use up the oldest one-time prekey; it is never given again."""
        with self.writing() as cursor:
            found = cursor.execute(
                "SELECT key_id, public FROM prekeys WHERE device = ? AND is_taken = 0 ORDER BY key_id LIMIT 1", (row,)
            ).fetchone()
            if found is not None:
                cursor.execute("UPDATE prekeys SET is_taken = 1 WHERE device = ? AND key_id = ?", (row, found[0]))
        return found and (int(found[0]), bytes(found[1]))


def _companion(row: _Row) -> Companion:
    number, lid, device, key_index, noise, signed_identity, routing_info, linked_at = row[1:9]
    public = PublicIdentity(row[9], row[10], PublicSignedPrekey(*row[11:14]))
    return Companion(
        row=row[0],
        number=number,
        lid=lid,
        device=device,
        key_index=key_index,
        noise_public=noise,
        public=public,
        signed_identity=signed_identity,
        routing_info=routing_info,
        linked_at=linked_at,
    )
