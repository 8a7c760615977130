"""Showing in a chat that somebody is typing: we are available for that long, and then again are not.

Rule: an instance is unavailable by default, so that the phone goes on ringing; a typing window ends by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

import trio

from actors.instance.messaging.host import Host
from whatisup.errors import NotConnected
from whatisup.jid import Jid
from whatisup.protocol.stanzas.presence import Availability, build_chat_state, build_presence
from whatisup.protocol.stanzas.presence import Typing as State

NEVER: Final = float("inf")
WINDOW_S: Final = 25.0
"""As long as clients show a state that nobody repeats."""

_STATES: Final[Mapping[str, State]] = {"typing": "composing", "recording": "recording"}


class Typing:
    """The chat that we are typing in, if there is one."""

    __slots__ = ("_chat", "_ends_at", "_host", "push_name")

    def __init__(self, host: Host) -> None:
        self._host = host
        self.push_name: str | None = None  # as our phone's own messages tell it; presence cannot be sent without
        self.forget()

    def forget(self) -> None:
        """The connection is gone, and with it whatever it showed."""
        self._chat: Jid | None = None
        self._ends_at = NEVER

    @property
    def deadline(self) -> float:
        """When the window ends, in monotonic seconds."""
        return self._ends_at

    async def show(self, chat: str, presence: Literal["typing", "recording", "paused"]) -> None:
        """Show a state in a chat.

        Raises:
            NotConnected: there is no session to show it through.
        """
        connection, now = self._host.connection, trio.current_time()
        if connection is None or not connection.is_logged_in:
            raise NotConnected(self._host.row.status)
        if presence == "paused":
            await self.end(Jid.parse(chat))
            return
        if self._chat is None:
            self._be("available")
        self._chat, self._ends_at = Jid.parse(chat), now + WINDOW_S
        connection.send([build_chat_state(self._chat, _STATES[presence])], now)
        await self._host.flush()

    async def end(self, chat: Jid | None = None) -> None:
        """Stop typing, and be unavailable again."""
        connection, now = self._host.connection, trio.current_time()
        chat = chat or self._chat
        if connection is not None and chat is not None:
            connection.send([build_chat_state(chat, "paused")], now)
            if self._chat is not None:
                self._be("unavailable")
        self.forget()
        await self._host.flush()

    def _be(self, availability: Availability) -> None:
        if self._host.connection is not None and self.push_name is not None:
            self._host.connection.send([build_presence(availability, self.push_name)], trio.current_time())
