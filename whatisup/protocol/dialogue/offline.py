"""The server's queue for this device after a login, pulled window by window.

Rule: the next window is asked for in the replies of the last stanza of this one, so only after that is committed.

Source: WhatsApp Web, as Baileys does it; whatsmeow never asks and is served all the same, so never wait on the answer.
"""

from __future__ import annotations

from typing import Final

from whatisup.protocol.dialogue.exchange import Exchange
from whatisup.protocol.events import OfflineCompleted, OfflinePreviewed
from whatisup.protocol.stanzas.ib import OFFLINE_BATCH, build_offline_batch, parse_offline, parse_offline_preview
from whatisup.wire import Node

SILENCE_S: Final = 60.0
"""After that long without a queued stanza the queue counts as delivered."""


class OfflineQueue:
    """How far the queue is; over exactly once."""

    __slots__ = ("_deadline_at", "_exchange", "_is_pulling", "_seen")

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._deadline_at: float | None = None
        self._is_pulling = False
        self._seen = 0

    @property
    def deadline_at(self) -> float | None:
        """When the silence has lasted too long, in monotonic seconds; `None` before the login and after the end."""
        return self._deadline_at

    @property
    def is_draining(self) -> bool:
        """Whether a login was accepted and its queue is not over."""
        return self._deadline_at is not None

    def begin(self) -> None:
        """Expect a queue: the login was accepted."""
        self._touch()

    def previewed(self, child: Node) -> None:
        """Ask for the first window."""
        preview = parse_offline_preview(child)
        self._exchange.emit(OfflinePreviewed(preview.count))
        if self._deadline_at is not None:
            self._is_pulling = True
            self._touch()
            self._exchange.send(build_offline_batch())

    def passed(self, stanza: Node) -> tuple[Node, ...]:
        """Take note of a stanza; returns what to send once it is committed."""
        return self.skipped() if "offline" in stanza.attrs else ()

    def skipped(self) -> tuple[Node, ...]:
        """Take note of one that nobody could read, be it of the queue or not: a window may not wait for it for ever."""
        if self._deadline_at is None:
            return ()
        self._touch()
        self._seen += 1
        return (build_offline_batch(),) if self._is_pulling and self._seen % OFFLINE_BATCH == 0 else ()

    def completed(self, child: Node) -> None:
        """The server says the queue is delivered."""
        self._end(parse_offline(child))

    def handle_timer(self, now: float) -> None:
        """End a queue that has been silent for too long."""
        if self._deadline_at is not None and self._deadline_at <= now:
            self._end(self._seen)

    def shift(self, by_s: float) -> None:
        """Stand still for that long, since we did not read."""
        if self._deadline_at is not None:
            self._deadline_at += by_s

    def _touch(self) -> None:
        self._deadline_at = self._exchange.now + SILENCE_S

    def _end(self, count: int) -> None:
        if self._deadline_at is not None:
            self._deadline_at = None
            self._exchange.emit(OfflineCompleted(count))
