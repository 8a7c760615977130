"""Who belongs to the chats of many: groups, newsletters, and each account's own status and broadcast lists.

Rule: the sandbox has no groups that a client could make. Who belongs to one is what the script says that lets a phone
write into it; a chat that no script knows has nobody in it.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from whatisup.jid import BROADCAST_SERVER, Jid
from whatisup.sandbox.accounts import Account
from whatisup.sandbox.state import State

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS circles (
    circle TEXT NOT NULL, number TEXT NOT NULL REFERENCES accounts ON DELETE CASCADE, PRIMARY KEY (circle, number)
) WITHOUT ROWID;
"""


class Circles:
    """Who belongs to which chat of many, as one account sees it: of its own tenant, and by its own lists."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._db = state.connection
        self._db.executescript(_SCHEMA)

    def gather(self, asker: Account, chat: Jid, numbers: Collection[str]) -> None:
        """Let exactly these accounts belong to a chat."""
        circle = _circle(asker, chat)
        with self._state.writing() as cursor:
            cursor.execute("DELETE FROM circles WHERE circle = ?", (circle,))
            cursor.executemany(
                "INSERT INTO circles VALUES (?, ?)", ((circle, number) for number in sorted(set(numbers)))
            )

    def members(self, asker: Account, chat: Jid) -> list[Account]:
        """Return who belongs to a chat, by number."""
        rows = self._db.execute("SELECT number FROM circles WHERE circle = ? ORDER BY number", (_circle(asker, chat),))
        found = (self._state.account(number) for (number,) in rows.fetchall())
        return [account for account in found if account is not None and account.tenant == asker.tenant]


def _circle(asker: Account, chat: Jid) -> str:
    owner = asker.number if chat.server == BROADCAST_SERVER else ""
    return f"{asker.tenant or ''} {owner} {chat}"
