"""The one watcher of all open streams: ends those whose key has ended, and drops those that nothing gets through to.

Rule: a key is looked up in the store, where the command line revokes it too, for all streams in one question; only the
end that a key always had is judged by the clock.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from typing import Final

import structlog
import trio

from api.streams.stream import Ending, Stream
from whatisup.errors import StoreError
from whatisup.store import Database, stream_keys

log = structlog.get_logger(__name__)

LOOK_EVERY_S: Final = 0.5
LAST_WORDS_S: Final = 0.4
"""How long a stream that is to end may stay stuck in a send."""
PATIENCE: Final = 1.5
"""A send that takes this many times what it may is not waited for any longer."""


class Watch:
    """Looks at `streams`, whoever is among them, twice a second."""

    def __init__(self, database: Database, streams: Collection[Stream], now: Callable[[], int], stall_s: float) -> None:
        self._database = database
        self._streams = streams
        self._now = now
        self._stall_s = stall_s
        self._some_open = trio.Event()

    def note_opened(self) -> None:
        """Start looking, if nothing was open."""
        self._some_open.set()

    async def run(self) -> None:
        """Watch until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._each_round, self._look_at_keys)
            nursery.start_soon(self._each_round, self._look_at_sends)

    async def _each_round(self, look: Callable[[], Awaitable[None]]) -> None:
        while True:
            await self._some_open.wait()
            await trio.sleep(LOOK_EVERY_S)
            await look()

    async def _look_at_keys(self) -> None:
        asked = {stream.key_id for stream in self._streams}
        if not asked:
            self._some_open = trio.Event()
            return
        try:
            living = await self._database.look(stream_keys.living, asked, self._now())
        except StoreError:
            log.warning("streams.keys_unknown")
            return
        for stream in self._streams:
            if stream.key_id in asked and stream.key_id not in living:
                stream.end(Ending.KEY_ENDED)

    async def _look_at_sends(self) -> None:
        now = self._now()
        for stream in list(self._streams):
            if stream.expires_at is not None and stream.expires_at <= now:
                stream.end(Ending.KEY_ENDED)
            patience_s = LAST_WORDS_S if stream.ending is Ending.KEY_ENDED else PATIENCE * self._stall_s
            if stream.send_age_s > patience_s and stream.line.drop():
                stream.end(Ending.SLOW_READER)
                log.info("stream.dropped", key_id=stream.key_id, reason=stream.ending)
