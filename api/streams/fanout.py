"""Every open stream of the process, and one reader of the log for each customer and mode that has any.

Rule: a reader renders each new event once into its group's tail and wakes those who wait for it; a stream at the head
sends from the tail, one that is behind pages from the store until the tail covers it. The log is the truth throughout:
what is not in a tail is read again, so nothing a tail drops is lost.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Protocol

import structlog
import trio

from actors.bus import Bus, Subscription
from api.streams.frames import KEEPALIVE, RETRY, Draw, Frame, Wanted, frames_of
from api.streams.searches import Searches
from api.streams.stream import Ending, Stream
from api.streams.tail import MAX_BYTES, Piece, Tail, gather
from api.streams.turns import Turns
from api.streams.watch import Watch
from whatisup.errors import CursorExpired, StoreUnavailable
from whatisup.store import Database, Mode, events

log = structlog.get_logger(__name__)

PAGE: Final = 200
CHUNK_BYTES: Final = 64 * 1024
"""What a stream sends at once, unless a single event is larger."""
TAILS_BYTES: Final = 32 << 20
"""What the tails of all groups hold together, at most."""
STALL_S: Final = 10.0
"""How long a reader may take over that."""
IDLE_READ_S: Final = 60.0
"""How often a reader that nobody woke looks at the log, lest the floor pass it and another process be overlooked."""
ROOM_S: Final = 0.25
"""How long a reader holds new events back for streams that are still sending what is in the tail."""
ROOM_POLL_S: Final = 0.02
BACKLOG_POLL_S: Final = 0.05
RETRY_S: Final = 1.0


class TooManyStreams(Exception):
    """The customer, or the process, holds as many streams as it may. `limit` is how many that are."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"at most {limit} streams may be open at once")
        self.limit = limit


class Gauge(Protocol):
    """Counts up and down, for the operator."""

    def inc(self) -> None:
        """One more."""

    def dec(self) -> None:
        """One less."""


@dataclass(slots=True, eq=False)
class _Group:
    """All streams of one customer in one mode. `tail` is None until its reader knows where the log ends."""

    wanted: Wanted
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    streams: dict[Stream, None] = field(default_factory=dict)
    tail: Tail | None = None

    def is_ahead_of(self, stream: Stream) -> bool:
        """Whether there is something that the stream has not dealt with."""
        return self.tail is not None and not (self.tail.covers(stream.position) and stream.position >= self.tail.head)

    @property
    def is_crowded(self) -> bool:
        """Whether the tail may soon drop what a stream has yet to send; one that is stuck reads the store later."""
        tail = self.tail
        if tail is None:
            return False
        covered = (s.position for s in self.streams if not s.is_stuck and tail.covers(s.position))
        return tail.is_crowded(min(covered, default=tail.head))


class Fanout:
    """Open streams of all customers. `run` must be running while any is open; `draw` renders pictures in a thread."""

    def __init__(
        self,
        database: Database,
        bus: Bus,
        *,
        now: Callable[[], int],
        draw: Draw,
        gauge: Gauge,
        max_streams: int,
        max_per_customer: int,
        keepalive_s: float,
        stall_s: float = STALL_S,
    ) -> None:
        self.by_customer: Counter[str] = Counter()
        self.turns = Turns()
        self._database = database
        self._bus = bus
        self._draw = draw
        self._gauge = gauge
        self._max_streams = max_streams
        self._max_per_customer = max_per_customer
        self._keepalive_s = keepalive_s
        self._stall_s = stall_s
        self._streams: dict[Stream, None] = {}
        self._groups: dict[tuple[str, Mode], _Group] = {}
        self._nursery: trio.Nursery | None = None
        self._is_draining = False
        # Those who catch up take turns at the store, customer by customer, and leave room there for everybody else.
        self.searches = Searches()
        self._catching_up = trio.CapacityLimiter(1)
        self._watch = Watch(database, self._streams, now, stall_s)

    def __len__(self) -> int:
        return len(self._streams)

    @property
    def tail_bytes(self) -> int:
        """What all tails hold together."""
        return sum(group.tail.size for group in self._groups.values() if group.tail is not None)

    # --- for whoever opens and ends streams -----------------------------------------------------------------------

    def check_room(self, customer_id: str) -> None:
        """See whether a customer may open another stream.

        Raises:
            TooManyStreams: it may not.
        """
        if self.by_customer[customer_id] >= self._max_per_customer:
            raise TooManyStreams(self._max_per_customer)
        if len(self._streams) >= self._max_streams:
            raise TooManyStreams(self._max_streams)

    async def follow(self, stream: Stream) -> AsyncIterator[bytes]:
        """Yield what a stream sends, from its position on until it is ended or its client leaves."""
        with self._opened(stream) as group:
            data = RETRY
            while data:
                stream.begin_send()
                yield data
                await self._let_through(stream)
                stream.finish_send(self._stall_s)
                data = await self._next(group, stream)
            stream.begin_send()
            yield stream.farewell()

    def drain(self) -> None:
        """End every stream with a last retry line, and every one that is opened from now on."""
        self._is_draining = True
        for stream in self._streams:
            stream.end(Ending.DRAINING)

    def end_key(self, key_id: str) -> None:
        """End the streams of a key that was revoked, at once; revocations by other processes are found by looking."""
        for stream in self._streams:
            if stream.key_id == key_id:
                stream.end(Ending.KEY_ENDED)

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Read, wake and watch until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            nursery.start_soon(self.turns.run)
            nursery.start_soon(self._watch.run)
            task_status.started()

    # --- a stream's life ------------------------------------------------------------------------------------------

    @contextmanager
    def _opened(self, stream: Stream) -> Iterator[_Group]:
        customer_id = stream.wanted.customer_id
        try:
            self.check_room(customer_id)
        except TooManyStreams:
            stream.end(Ending.TOO_MANY_STREAMS)  # several were let in at once
        if self._is_draining:
            stream.end(Ending.DRAINING)
        group = self._join(stream)
        self._watch.note_opened()
        self.by_customer[customer_id] += 1
        self._gauge.inc()
        try:
            yield group
        finally:
            self._gauge.dec()
            self.by_customer[customer_id] -= 1
            if not self.by_customer[customer_id]:
                del self.by_customer[customer_id]
            del self._streams[stream]
            self.turns.leave(stream)
            self._leave(group, stream)

    def _join(self, stream: Stream) -> _Group:
        key = (stream.wanted.customer_id, stream.wanted.mode)
        group = self._groups.get(key)
        if group is None:
            if self._nursery is None:
                raise RuntimeError("nobody runs the fan-out")
            group = self._groups[key] = _Group(Wanted(*key))
            self._nursery.start_soon(self._serve, group)
        stream.line.keep_small()
        self._streams[stream] = group.streams[stream] = None
        return group

    def _leave(self, group: _Group, stream: Stream) -> None:
        del group.streams[stream]
        if not group.streams:
            group.scope.cancel()
            self._forget(group)

    def _forget(self, group: _Group) -> None:
        key = (group.wanted.customer_id, group.wanted.mode)
        if self._groups.get(key) is group:  # and not one that was opened since
            del self._groups[key]

    async def _next(self, group: _Group, stream: Stream) -> bytes:
        """What the stream sends next; empty when it is to end."""
        while stream.ending is None:
            if trio.current_time() >= stream.spoke_at + self._keepalive_s:
                return KEEPALIVE
            if not stream.has_turn:
                if group.is_ahead_of(stream):
                    self.turns.ask([stream])
                await stream.wait(stream.spoke_at + self._keepalive_s)
                continue
            stream.has_turn = False
            piece = await self._more(group, stream)
            if piece is not None and stream.ending is None:
                stream.position = piece.until
                stream.last_event_id = piece.last_event_id or stream.last_event_id
                if piece.data:
                    return piece.data
        return b""

    async def _let_through(self, stream: Stream) -> None:
        """Wait until what was sent is on its way to the client, where the connection does not do so by itself."""
        while stream.line.backlog > CHUNK_BYTES and stream.ending is None:  # noqa: ASYNC110  # nobody says so
            await trio.sleep(BACKLOG_POLL_S)

    async def _more(self, group: _Group, stream: Stream) -> Piece | None:
        """The next piece of the log, of the tail or of the store; None when there is none to be had now."""
        if group.tail is None:
            return None
        if group.tail.covers(stream.position):
            return group.tail.after(stream.position, stream.wanted, CHUNK_BYTES)
        try:
            async with self.searches.one(stream.wanted.customer_id):
                frames, until = await self._read(stream.wanted, stream.position, self._catching_up)
        except CursorExpired:
            stream.end(Ending.CURSOR_EXPIRED)
            return None
        except StoreUnavailable:
            await stream.wait(trio.current_time() + RETRY_S)
            return None
        return gather(frames, until, CHUNK_BYTES)

    async def _read(
        self, wanted: Wanted, after: int, limiter: trio.CapacityLimiter | None = None
    ) -> tuple[list[Frame], int]:
        read = partial(events.follow, after=after, limit=PAGE, **wanted.filters)
        if limiter is None:
            stretch = await self._database.read(read)
        else:
            async with limiter:
                stretch = await self._database.read(read)
        return await frames_of(stretch.events, self._draw), stretch.until

    # --- a group's reader -----------------------------------------------------------------------------------------

    async def _serve(self, group: _Group) -> None:
        """Read for a group until its last stream leaves; a fault of ours ends its streams and nobody else's."""
        with group.scope, self._bus.subscribe(group.wanted.customer_id, group.wanted.mode) as bell:
            try:
                await self._read_on(group, bell)
            except Exception:
                log.exception("streams.reader_failed", customer_id=group.wanted.customer_id)
                self._forget(group)
                for stream in group.streams:
                    stream.end(Ending.FAILED)

    async def _read_on(self, group: _Group, bell: Subscription) -> None:
        while True:
            try:
                has_more = await self._read_once(group)
            except StoreUnavailable:
                log.warning("streams.store_unavailable")
                await trio.sleep(RETRY_S)
                continue
            if has_more:
                await self._wait_for_room(group)
            else:
                with trio.move_on_after(IDLE_READ_S):
                    await bell.wait()

    async def _read_once(self, group: _Group) -> bool:
        """Take what is new into the tail and wake those who wait for it; whether there is more."""
        frames: list[Frame] = []
        if group.tail is None:
            group.tail = Tail(await self._database.read(events.latest_position))
        else:
            try:
                frames, until = await self._read(group.wanted, group.tail.head)
            except CursorExpired:  # while the process was stopped, perhaps; its streams find out for themselves
                group.tail = Tail(await self._database.read(events.latest_position))
            else:
                group.tail.max_bytes = min(MAX_BYTES, TAILS_BYTES // max(1, len(self._groups)))
                group.tail.extend(frames, until, trio.current_time())
        self.turns.ask(stream for stream in group.streams if stream.is_waiting)
        return len(frames) == PAGE

    async def _wait_for_room(self, group: _Group) -> None:
        """Hold back for a moment when the tail would drop what streams that keep up have yet to send."""
        until = trio.current_time() + ROOM_S
        while group.is_crowded and trio.current_time() < until:  # noqa: ASYNC110  # many streams move, none says so
            await trio.sleep(ROOM_POLL_S)
