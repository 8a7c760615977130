"""What an instance can be asked, one function per command, and the table that finds it.

Rule: a command that the state does not allow raises a `CommandRefused` that names the remedy, before anything changed.
"""

from __future__ import annotations

from collections.abc import Mapping

import trio

from actors.instance import auth
from actors.instance.actor import LATER, CommandHandler, InstanceActor
from actors.instance.pairing import CodeRequest
from actors.instance.reactions import offer_linking_code
from actors.mailbox import ReplySlot
from actors.messages import (
    CheckContact,
    ContactCheck,
    Delete,
    Logout,
    LogoutOutcome,
    MarkRead,
    PairCode,
    QrCode,
    RequestPairCode,
    RequestQr,
    SetPresence,
    Start,
    Stop,
    Wake,
)
from whatisup.errors import AtCapacity, InvalidTransition, NotConnected, SessionExists
from whatisup.jid import Jid
from whatisup.lifecycle import Trigger, should_run, step
from whatisup.protocol.credentials import Credentials
from whatisup.protocol.stanzas.receipt import READ, build_receipt
from whatisup.store import AppendAudit, Intent, Op, Origin


def _audit(actor: InstanceActor, origin: Origin, action: str) -> Op:
    return AppendAudit(origin, action, None, None, actor.services.unix_ms())


def _require(actor: InstanceActor, trigger: Trigger, command: str, remedy: str) -> None:
    if actor.farewell is not None or not step(actor.row.status, actor.row.has_account, trigger).is_legal:
        raise InvalidTransition(command, actor.row.status, remedy)


async def _begin_pairing(actor: InstanceActor, origin: Origin) -> None:
    """Make sure that pairing runs: fresh keys and `qr_required`, in one transaction, unless it does already."""
    if actor.row.has_account:
        raise SessionExists(
            "an account is linked already; log the instance out first"
            if should_run(actor.row.status)
            else "an account is linked already; start the instance to resume it, or log it out to pair anew"
        )
    _require(actor, Trigger.PAIR, "pair", "it is being logged out or deleted")
    if should_run(actor.row.status):
        return
    endpoint = actor.services.endpoint(actor.row.mode)
    if endpoint is None:
        raise AtCapacity("the sandbox is not up yet; try again in a moment")
    with actor.services.fleet.entering(actor.id):
        keys = auth.put_credentials(Credentials.generate(actor.services.entropy, endpoint.root_public))
        actor.tally.reset()
        await actor.move(Trigger.PAIR, keys, _audit(actor, origin, "instance.pairing_started"))
    actor.retry_at = trio.current_time()


async def request_qr(actor: InstanceActor, command: RequestQr, reply: ReplySlot[QrCode]) -> object:
    """Start pairing if need be; answer with the QR on offer, or with the next one."""
    await _begin_pairing(actor, command.origin)
    actor.desk.await_qr(reply, actor.services.unix_ms())
    return LATER


async def request_pair_code(actor: InstanceActor, command: RequestPairCode, reply: ReplySlot[PairCode]) -> object:
    """Start pairing if need be; answer with a linking code as soon as the server has taken it."""
    await _begin_pairing(actor, command.origin)
    actor.desk.await_code(CodeRequest(command.phone_number, reply))
    await offer_linking_code(actor)
    return LATER


async def start(actor: InstanceActor, command: Start, _reply: ReplySlot[None]) -> object:
    """Resume from the stored auth state."""
    remedy = "it is running already" if should_run(actor.row.status) else "no account is linked; ask for a QR instead"
    _require(actor, Trigger.START, "start", remedy)
    with actor.services.fleet.entering(actor.id):
        actor.tally.reset()
        await actor.move(Trigger.START, _audit(actor, command.origin, "instance.started"))
    actor.retry_at = trio.current_time()
    return None


async def stop(actor: InstanceActor, command: Stop, _reply: ReplySlot[None]) -> object:
    """Commit the wish, then close the socket."""
    _require(actor, Trigger.STOP, "stop", "it is not running")
    await actor.move(Trigger.STOP, _audit(actor, command.origin, "instance.stopped"))
    actor.rest()
    return None


async def log_out(actor: InstanceActor, command: Logout, reply: ReplySlot[LogoutOutcome]) -> object:
    """Unlink and destroy the keys; while pairing, only give the pairing up."""
    if actor.farewell is not None:
        actor.farewell.join_logout(reply)
        return LATER
    _require(actor, Trigger.LOG_OUT, "log out", "no account is linked")
    if not actor.row.has_account:
        await actor.move(Trigger.LOG_OUT, _audit(actor, command.origin, "instance.pairing_cancelled"))
        actor.rest()
        return LogoutOutcome(unlinked=False)
    await actor.begin_farewell(Intent.LOG_OUT, command.origin, logout=reply)
    return LATER


async def delete(actor: InstanceActor, command: Delete, reply: ReplySlot[None]) -> object:
    """Unlink on a live socket, destroy the keys, and hide the instance for good."""
    if actor.farewell is not None and actor.farewell.intent is Intent.DELETE:
        actor.farewell.join_delete(reply)
        return LATER
    await actor.begin_farewell(Intent.DELETE, command.origin, delete=reply)
    return LATER


# What each named timer was set for; one that finds anything else has been overtaken.
_SET_BY: Mapping[Trigger, Trigger] = {
    Trigger.BAN_EXPIRED: Trigger.TEMP_BANNED,
    Trigger.VERSION_CHANGED: Trigger.CLIENT_OUTDATED,
}


async def wake(actor: InstanceActor, command: Wake, _reply: ReplySlot[None]) -> object:
    """Step by a named timer, if the instance still waits for it."""
    row = actor.row
    is_due = row.detail == _SET_BY[command.trigger] and (row.expires_at or 0) <= actor.services.unix_ms()
    if is_due and actor.farewell is None and await actor.move(command.trigger):
        actor.tally.reset()
        actor.retry_at = trio.current_time()
    return None


async def mark_read(actor: InstanceActor, command: MarkRead, _reply: ReplySlot[None]) -> object:
    """Send a read receipt."""
    connection = actor.connection
    if connection is None or not connection.is_logged_in or actor.farewell is not None:
        raise NotConnected(actor.row.status)
    author = None if command.author is None else Jid.parse(command.author)
    unix_t = actor.services.unix_ms() // 1000
    receipt = build_receipt(command.wa_ids, Jid.parse(command.chat), kind=READ, participant=author, unix_t=unix_t)
    connection.send([receipt], trio.current_time())
    await actor.flush()
    return None


async def set_presence(actor: InstanceActor, command: SetPresence, _reply: ReplySlot[None]) -> object:
    """Show that somebody is typing."""
    await actor.messaging.typing.show(command.chat, command.presence)
    return None


async def check_contact(actor: InstanceActor, command: CheckContact, reply: ReplySlot[ContactCheck]) -> object:
    """Look a number up; the answer comes with the server's."""
    await actor.messaging.contacts.check(command.phone_number, reply)
    return LATER


COMMANDS: Mapping[type, CommandHandler] = {
    MarkRead: mark_read,
    SetPresence: set_presence,
    CheckContact: check_contact,
    RequestQr: request_qr,
    RequestPairCode: request_pair_code,
    Start: start,
    Stop: stop,
    Logout: log_out,
    Delete: delete,
    Wake: wake,
}
