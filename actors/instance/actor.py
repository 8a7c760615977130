"""One instance's actor: owns the row, the socket, the connection and the backoff of one number.

Rule: commit, then transmit. Every change goes through `commit` (one unit in flight, fenced by the incarnation that the
row was loaded under); what may be said to WhatsApp because of it is said afterwards.

The actor is one task with one inbox. Commands, bytes from the socket and the end of the socket all arrive there, and
the earliest of its few deadlines is the timeout of waiting for the next item. It ends when there is nothing to run and
nothing to do; it dies (and is rebuilt from the store) when it cannot trust its memory: a failed commit, a fence, a bug.
"""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import structlog
import trio

from actors.instance import auth
from actors.instance.backoff import Backoff
from actors.instance.farewell import Farewell
from actors.instance.link import BytesReceived, Link, LinkLost, LinkOpened
from actors.instance.messaging import Messaging
from actors.instance.pairing import PairingDesk
from actors.instance.services import Services
from actors.instance.tally import Tally, Verdict, Wait
from actors.instance.transition import transition
from actors.mailbox import Envelope, Mailbox, Notice, ReplySlot
from actors.messages import LogoutOutcome, OutboxGrew
from actors.transport import Transport
from whatisup.errors import (
    ActorStopped,
    CertificateError,
    CommandRefused,
    PairingEnded,
    RemoteProtocolError,
    TransportError,
)
from whatisup.jid import Jid
from whatisup.lifecycle import LINKED, Situation, Trigger, should_run, step
from whatisup.protocol.connection import Connection
from whatisup.protocol.credentials import Account
from whatisup.protocol.dialogue.ration import PrekeyRation
from whatisup.protocol.events import Event
from whatisup.store import Committed, Instance, Intent, MarkDeleted, Op, Origin, SetIntent, Unit, instances

log = structlog.get_logger(__name__)

NEVER = float("inf")
# How many events of one peer are dealt with before the other instances get a turn.
EVENTS_AT_ONCE = 64
# How many bytes that wait are looked at together, so that what they say is committed and answered together.
BYTES_AT_ONCE = 64 << 10


class _Later:
    """The type of `LATER`."""


LATER = _Later()
"""What a command handler returns when it has kept the reply slot and will answer later."""

CommandHandler = Callable[["InstanceActor", Any, ReplySlot[Any]], Awaitable[object]]
Reaction = Callable[["InstanceActor", Any], Awaitable[None]]


class InstanceActor:
    """See the module; `commands` and `reactions` are the tables of what it can be asked and told."""

    def __init__(
        self,
        row: Instance,
        mailbox: Mailbox,
        services: Services,
        nursery: trio.Nursery,
        *,
        commands: Mapping[type, CommandHandler],
        reactions: Mapping[type, Reaction],
    ) -> None:
        self.id = row.id
        self.row = row
        self.services = services
        self.connection: Connection | None = None
        self.desk = PairingDesk()
        self.messaging = Messaging(self)
        self.tally = Tally()
        self.backoff = Backoff(services.jitter)
        self.farewell: Farewell | None = None
        self.last_frame_at: int | None = None
        self.revision = 0  # counts the beginnings and the ends of commits, so it is odd during one
        # What the store holds of the server's wishes, so that hearing the same again writes nothing.
        self.routing_info: bytes | None = None
        self.props_hash: str | None = None
        self.lid: Jid | None = None
        self.ration = PrekeyRation(trio.current_time())
        self.retry_at = NEVER
        self._mailbox = mailbox
        self._commands = commands
        self._reactions = reactions
        self._link: Link | None = None
        self._transport: Transport | None = None
        self._auth: auth.AuthState | None = None
        self._nursery = nursery

    # --- the loop -----------------------------------------------------------------------------------------------

    async def run(self, rebirth: Trigger, on_awake: Callable[[], None]) -> None:
        """Take up where the last actor of this instance ended, and live until there is nothing left to do.

        `rebirth` is why that one is gone; `on_awake` is called once the row tells the truth again.
        """
        try:
            await self._wake_up(rebirth)
            on_awake()
            while not self._may_rest:
                await self._turn()
        finally:
            gone = ActorStopped("the instance stopped before it could answer; ask for its status")
            self.desk.close(gone)
            if self.farewell is not None:
                self.farewell.refuse(gone)
            self.hang_up()

    async def _wake_up(self, rebirth: Trigger) -> None:
        await self.move(rebirth)
        if self.row.intent is not None:
            await self.begin_farewell(self.row.intent, None)
        elif should_run(self.row.status):
            self.retry_at = trio.current_time()

    @property
    def _may_rest(self) -> bool:
        # What waits behind a delete is refused by the slot's next try, which finds no row.
        is_idle = not should_run(self.row.status) and self.farewell is None and self._mailbox.is_empty
        return is_idle or self.row.deleted_at is not None

    async def _turn(self) -> None:
        item: Envelope[Any] | Notice | None = None
        if self._mailbox.is_empty:
            with trio.CancelScope(deadline=self._next_deadline()):
                await self._mailbox.wait_for_more()
        else:
            await trio.lowlevel.checkpoint()
        if not self._mailbox.is_empty:
            item = self._mailbox.receive_nowait()
        if isinstance(item, Envelope):
            await self._obey(item)
        elif item is not None:
            await self._hear(item)
        await self._run_timers()
        await self._work()

    def _next_deadline(self) -> float:
        deadlines = [self.retry_at, self._connection_deadline()]
        if self._may_work:
            deadlines.append(self.messaging.deadline)
        if self.farewell is not None:
            deadlines.append(self.farewell.deadline)
        if self.desk.round_is_over:
            deadlines.append(self.desk.code_until)
        return min(deadlines)

    def _connection_deadline(self) -> float:
        deadline = None if self.connection is None else self.connection.next_deadline()
        return NEVER if deadline is None else deadline

    async def _run_timers(self) -> None:
        now = trio.current_time()
        if self.connection is not None and self._connection_deadline() <= now:
            self.connection.handle_timer(now)
            await self.advance()
        if self.desk.round_is_over and self.desk.code_until <= now:
            await self.end_round()
        if self.farewell is not None and self.farewell.deadline <= now:
            await self.finish_farewell(unlinked=False)
        if self.retry_at <= now:
            self.retry_at = NEVER
            await self._dial()

    async def _obey(self, envelope: Envelope[Any]) -> None:
        try:
            await self.messaging.reading.settle()  # what came before counts before
            answer = await self._commands[type(envelope.command)](self, envelope.command, envelope.reply)
        except CommandRefused as refusal:
            envelope.reply.refuse(refusal)
        except BaseException:
            envelope.reply.refuse(ActorStopped("the instance stopped before it could answer; ask for its status"))
            raise
        else:
            if answer is not LATER:
                envelope.reply.answer(answer)

    async def _hear(self, notice: Notice) -> None:
        match notice:
            case LinkOpened(link, transport) if link is self._link:
                await self._open(transport)
            case BytesReceived(link, data) if link is self._link and self.connection is not None:
                self.last_frame_at = self.services.unix_ms()
                await self._receive(self.connection, data)
            case OutboxGrew():
                self.messaging.sending.nudge()
            case LinkLost(link, error) if link is self._link:
                log.info("instance.link_lost", instance_id=self.id, error=str(error))
                await self.messaging.reading.settle()
                await self.drop(Trigger.CONNECTION_LOST)
            case _:
                pass  # from a link that was hung up

    # --- the connection -----------------------------------------------------------------------------------------

    async def _dial(self) -> None:
        """Start one attempt at a connection, unless one is under way or the server is not ours."""
        if self._link is not None or not (should_run(self.row.status) or self.farewell is not None):
            return
        endpoint = self.services.endpoint(self.row.mode)
        state = await self.services.database.look(auth.load, self.id)
        if endpoint is None:
            await self.drop(Trigger.SERVER_UNAVAILABLE)
        elif state is None:
            log.error("instance.auth_missing", instance_id=self.id)
            await self.settle(Verdict(Trigger.LOGGED_OUT if self.row.has_account else Trigger.PAIRING_GAVE_UP))
        elif state.credentials.root_public != endpoint.root_public:
            await self.drop(Trigger.WRONG_SERVER)
        else:
            self._auth = state
            self._link = Link(endpoint)
            self._nursery.start_soon(self._link.run, self.services.gates[self.row.mode], self._mailbox)

    async def _open(self, transport: Transport) -> None:
        state, self._auth = self._auth, None
        if state is None:
            raise RuntimeError("a socket opened without auth state")
        self._transport = transport
        self.routing_info, self.props_hash = state.routing_info, state.props_hash
        self.lid = None if state.account is None else state.account.lid
        self.connection = Connection(
            state.credentials,
            state.account,
            profile=self.services.profile,
            entropy=self.services.entropy,
            now=trio.current_time(),
            unix_now=self.services.unix_ms() / 1000,
            routing_info=state.routing_info,
            props_hash=state.props_hash,
            ration=self.ration,
        )
        self.messaging.attach(state.credentials, state.account)
        await self.advance()

    async def _receive(self, connection: Connection, data: bytes) -> None:
        try:
            connection.receive_data(data, trio.current_time())
            for more in self._take_more():
                connection.receive_data(more, trio.current_time())
        except RemoteProtocolError as error:
            await self._reject(error)
        else:
            await self.advance()

    def _take_more(self) -> Iterator[bytes]:
        """What else has come over the socket, up to the first notice or command that came between: one unit's worth."""
        room = BYTES_AT_ONCE
        while room > 0 and isinstance(head := self._mailbox.head, BytesReceived) and head.link is self._link:
            self._mailbox.receive_nowait()
            room -= head.size
            yield head.data

    async def advance(self) -> None:
        """React to what the connection has to tell, then send what it has to say."""
        try:
            for count in itertools.count(1):
                event = await self._next_event()
                if event is None:
                    break
                if not await self.messaging.gather(event):
                    reaction = self._reactions.get(type(event))
                    if reaction is not None:
                        await reaction(self, event)
                if count % EVENTS_AT_ONCE == 0:  # a flooding peer gets its acks, and everybody else a turn
                    await self.flush()
                    await trio.lowlevel.checkpoint()
            await self.messaging.rest()
            await self.flush()
        except RemoteProtocolError as error:
            await self._reject(error)

    @property
    def _may_work(self) -> bool:
        return self.connection is not None and self.connection.is_logged_in and self.farewell is None

    async def _work(self) -> None:
        """Do what messages ask for beside being read: the outbox, repairs, what has become due."""
        if self._may_work:
            await self.messaging.run_due()
            await self.flush()

    async def _next_event(self) -> Event | None:
        """Ask the connection, in a thread where a large frame is next: no peer's frame holds up the other instances."""
        connection = self.connection
        if connection is None:
            return None
        if connection.is_heavy:
            return await trio.to_thread.run_sync(connection.next_event, limiter=self.services.decoding)
        return connection.next_event()

    async def flush(self) -> None:
        """Send what the connection has queued; a lost socket is dealt with here."""
        if self.connection is None or self._transport is None:
            return
        data = self.connection.data_to_send()
        if data:
            try:
                await self._transport.send(data)
            except TransportError as error:
                log.info("instance.send_failed", instance_id=self.id, error=str(error))
                await self.drop(Trigger.CONNECTION_LOST)

    async def _reject(self, error: RemoteProtocolError) -> None:
        is_certificate = isinstance(error, CertificateError)
        log.warning("instance.peer_refused", instance_id=self.id, error=str(error), is_certificate=is_certificate)
        await self.drop(Trigger.CERTIFICATE_REFUSED if is_certificate else Trigger.CONNECTION_LOST)

    def arrived(self) -> None:
        """The login is over: let the next instance through the gate."""
        if self._link is not None:
            self._link.arrived()

    def hang_up(self) -> None:
        """Close the socket, if there is one, and void what was on offer through it."""
        if self._link is not None:
            self._link.hang_up()
        self._link = self._transport = self.connection = self._auth = None
        self.desk.interrupt()
        self.messaging.detach()

    async def drop(self, trigger: Trigger, *, code: int | None = None, expires_in_s: float | None = None) -> None:
        """The connection is over because of `trigger`: weigh it, step, and plan the next attempt."""
        if self.farewell is not None:
            is_unlinked = trigger in (Trigger.LOGGED_OUT, Trigger.DEVICE_REMOVED, Trigger.FORCED_LOGOUT)
            await self.finish_farewell(unlinked=is_unlinked)
            return
        verdict = self.tally.judge(trigger, code=code, has_account=self.row.has_account)
        await self.settle(verdict, expires_in_s=expires_in_s)

    async def settle(self, verdict: Verdict, *, expires_in_s: float | None = None) -> None:
        """Hang up, step by the verdict's trigger, and plan the next attempt if the state wants one."""
        was_linking = Situation(self.row.status, self.row.has_account) == LINKED
        self.hang_up()
        expires_at = None if expires_in_s is None else self.services.unix_ms() + round(expires_in_s * 1000)
        await self.move(verdict.trigger, expires_at=expires_at)
        if not should_run(self.row.status):
            self.desk.close(PairingEnded(self.row.status, self.row.detail))
            return
        now = trio.current_time()
        self.services.counts.reconnects[verdict.trigger.value] += 1
        wait_s = 0.0
        if verdict.wait is Wait.ON_REQUEST:
            wait_s = self.backoff.after_request(now)
        elif verdict.wait is not Wait.NONE and not was_linking:
            wait_s = self.backoff.after_loss(now, is_long=verdict.wait is Wait.LONG)
        self.retry_at = now + wait_s

    async def end_round(self) -> None:
        """All QR codes of this connection have expired."""
        await self.settle(self.tally.end_round())

    # --- the store ----------------------------------------------------------------------------------------------

    @property
    def is_leaving(self) -> bool:
        """Whether a logout or delete is under way."""
        return self.farewell is not None

    async def commit(self, *ops: Op) -> Committed:
        """Commit one unit; the liveness clock stands still meanwhile, because we do not read.

        Raises:
            Fenced: a younger incarnation has taken over; this actor must end.
            StoreUnavailable: nothing was written.
        """
        connection = self.connection
        if connection is not None:
            connection.hold(trio.current_time())
        self.revision += 1
        try:
            committed = await self.services.writer.submit(Unit(self.id, self.row.incarnation, ops))
        finally:
            self.revision += 1
        if connection is not None:
            connection.resume(trio.current_time())
        return committed

    async def move(
        self, trigger: Trigger, *extra: Op, expires_at: int | None = None, account: Account | None = None
    ) -> bool:
        """Step by `trigger` and commit what follows together with `extra`; False when the table has no such row."""
        taken = step(self.row.status, self.row.has_account, trigger)
        if not taken.is_legal:
            log.debug("instance.trigger_ignored", instance_id=self.id, trigger=trigger, status=self.row.status)
            return False
        change = transition(self.row, taken, now_ms=self.services.unix_ms(), expires_at=expires_at, account=account)
        ops = (*change.ops, *extra)
        if ops:
            await self.commit(*ops)
        self.row = change.after
        if change.is_move:
            self.services.counts.transitions[change.before.status, change.after.status] += 1
            log.info(
                "instance.moved",
                instance_id=self.id,
                trigger=trigger,
                before=change.before.status,
                after=change.after.status,
                detail=change.after.detail,
            )
        return True

    # --- leaving ------------------------------------------------------------------------------------------------

    def rest(self) -> None:
        """Hang up and plan no further attempt: the state no longer wants a socket."""
        self.hang_up()
        self.retry_at = NEVER
        self.desk.close(PairingEnded(self.row.status, self.row.detail))

    async def begin_farewell(
        self,
        intent: Intent,
        origin: Origin | None,
        *,
        logout: ReplySlot[LogoutOutcome] | None = None,
        delete: ReplySlot[None] | None = None,
    ) -> None:
        """Commit the wish to leave, then unlink within bounds; `finish_farewell` destroys the keys.

        `origin` is None when a crash interrupted an earlier farewell and its wish is on record already. `logout` and
        `delete` are answered when it is over.
        """
        if origin is not None:
            self.revision += 1
            try:
                self.row = await self.services.writer.call(
                    instances.begin_wipe,
                    self.id,
                    self.row.incarnation,
                    intent,
                    origin,
                    self.services.unix_ms(),
                    lane=self.id,
                )
            finally:
                self.revision += 1
        now = trio.current_time()
        self.farewell = Farewell.begin(intent, now, previous=self.farewell)
        if logout is not None:
            self.farewell.join_logout(logout)
        if delete is not None:
            self.farewell.join_delete(delete)
        if self.connection is not None and self.connection.is_logged_in:
            await self.say_farewell()
        elif intent is Intent.LOG_OUT and self.row.has_account:
            self.farewell.await_login(now)
            self.retry_at = now
        else:
            await self.finish_farewell(unlinked=False)

    async def say_farewell(self) -> None:
        """Ask WhatsApp to unlink this device."""
        if self.connection is not None and self.farewell is not None:
            now = trio.current_time()
            self.farewell.await_unlink(now)
            self.connection.unlink(now)
            await self.flush()

    async def finish_farewell(self, *, unlinked: bool) -> None:
        """Destroy the keys and settle everybody who waits, whether WhatsApp confirmed or not."""
        farewell = self.farewell
        if farewell is None:
            return
        self.hang_up()
        self.retry_at = NEVER
        deleted_at = self.services.unix_ms() if farewell.intent is Intent.DELETE else None
        done: tuple[Op, ...] = (SetIntent(None),)
        if deleted_at is not None:
            done = (*done, MarkDeleted(deleted_at))
        if not await self.move(Trigger.LOG_OUT if deleted_at is None else Trigger.DELETE, *done):
            await self.commit(*done)
        self.row = replace(self.row, intent=None, deleted_at=deleted_at)
        self.farewell = None
        farewell.answer(LogoutOutcome(unlinked))
        self.desk.close(PairingEnded(self.row.status, self.row.detail))
