"""Messages: accepted into the outbox by one write, read back from the store, and a few words to the actor.

Rule: what is answered with 202 is committed, together with its Idempotency-Key, by the writer alone; the actor is only
told that there is something to send, and an actor that sleeps in its backoff need not even hear that.
"""

from __future__ import annotations

import re
from functools import partial
from typing import Any, Final

import trio

from actors.messages import CheckContact, MarkRead, SetPresence
from api.auth import Principal
from api.problems import Problem
from api.routes.instances import find
from api.schemas.addresses import read_address, read_number, require_possible
from api.schemas.messages import (
    AcceptedMessage,
    ContactExists,
    MessageBody,
    MessagePage,
    MessageQuery,
    MessagesQuery,
    MessageWithHistory,
    PresenceBody,
    SendMessage,
    SetPresenceRequest,
)
from api.schemas.requests import NoQuery, Nothing
from api.serving.endpoint import NEAR_ROWS, Answer, Endpoint, Exchange, checked_cursor
from api.serving.idempotency import write_once
from whatisup.jid import Jid
from whatisup.protocol.content.bodies import Body, TextBody, body_object, target_of
from whatisup.protocol.content.compose import CannotCompose, Target, compose
from whatisup.protocol.content.ids import new_message_id
from whatisup.store import Instance, Message, Mode, Moment, Tx, Vault, instances, messages

_OURS = re.compile(r"msg_[A-Za-z0-9]{1,60}\Z")
_WHATSAPPS = re.compile(r"[!-~]{1,128}\Z")

Sending = Exchange[SendMessage, NoQuery]


async def send(exchange: Sending) -> Answer:
    """Take a message into the outbox."""
    who, chat = exchange.principal, exchange.body.chat
    # Whose an instance is never changes, and the write looks at its row again. Only what nobody has must not come so
    # far: made-up names would each have a place of their own in the writer's queue.
    name = (who.customer_id, who.mode, exchange.instance_id)
    if name not in exchange.edge.owned:
        await find(exchange)
        exchange.edge.owned.add(name)
    if who.mode is Mode.LIVE:
        require_possible(chat, "to")
    # A client that leaves between commit and nudge must not leave the message lying. Queued as the instance's own, a
    # burst for one number does not hold up what is sent by the customer's others.
    with trio.CancelScope(shield=True):
        answer = await write_once(exchange, partial(_accept, exchange, chat), status=202, lane=name[-1], anywhere=True)
        exchange.edge.system.nudge(name[-1])
    return answer


def _accept(exchange: Sending, chat: Jid, tx: Tx) -> AcceptedMessage:
    asked, who = exchange.body, exchange.principal
    sender = messages.sender_of(tx, exchange.instance_id, who.customer_id, who.mode, str(chat))
    if sender is None:
        raise Problem("instance_not_found")
    row = sender.instance
    target = _target(tx, row, chat, asked.body)
    _require_sayable(asked, row, chat, target, tx.now)
    said = body_object(asked.body)
    lifetime_s = asked.expires_in or exchange.edge.settings.message_expires_default_s
    made = messages.accept(
        tx,
        instance_id=row.id,
        customer_id=who.customer_id,
        mode=who.mode,
        to=str(chat),
        body=said,
        kind=said["type"],
        target=None if target is None else _kept(target),
        client_ref=asked.client_ref,
        wa_id=new_message_id(tx.now // 1000, row.phone_number or "", tx.entropy),
        expires_at=tx.now + lifetime_s * 1000,
        request_id=exchange.request_id,
        trace=exchange.trace,
        now=tx.now,
        sender=sender,
    )
    return AcceptedMessage(message_id=made.id, wa_message_id=made.wa_id, client_ref=made.client_ref, status=made.status)


def _target(tx: Tx, row: Instance, chat: Jid, body: Body) -> Target | None:
    """Find the message that a body is about.

    Raises:
        Problem: `target_not_found`, with the field.
    """
    reference, found = target_of(body), None
    if reference is None:
        return None
    if _WHATSAPPS.match(reference):
        found = messages.find_target(tx.conn, tx.vault, row.id, str(chat), reference)
    if found is None:
        raise Problem("target_not_found", field="body.reply_to" if isinstance(body, TextBody) else "body.message_id")
    return Target(found.wa_id, found.from_me, None if found.from_me else found.author, found.original)


def _kept(target: Target) -> dict[str, Any]:
    """What the outbox keeps of a target; what is quoted of it is read when the message is encrypted."""
    return {"wa_id": target.wa_id, "from_me": target.from_me, "author": target.author}


def _require_sayable(asked: SendMessage, row: Instance, chat: Jid, target: Target | None, now: int) -> None:
    """Refuse what could never be sent, by trying.

    Raises:
        Problem: `validation_failed`, with the field.
    """
    own = Jid(row.phone_number or "0", chat.server)
    try:
        compose(asked.body, chat=chat, own=own, target=target, secret=bytes(32), unix_ms=now)
    except CannotCompose as error:
        raise Problem("validation_failed", str(error), field=f"body.{error.field}") from None


async def list_(exchange: Exchange[Nothing, MessagesQuery]) -> Answer:
    """Show a page of an instance's messages."""
    rows, cursor = await exchange.read(partial(_read_page, exchange, checked_cursor(exchange.query.cursor)))
    return Answer(MessagePage(data=[MessageBody.of(row) for row in rows], next_cursor=cursor))


def _read_page(
    exchange: Exchange[Nothing, MessagesQuery], cursor: str | None, conn: Any, vault: Vault
) -> tuple[list[Message], str | None]:
    who, query = exchange.principal, exchange.query
    instance = instances.get(conn, vault, exchange.instance_id, who.customer_id, who.mode)
    if instance is None:
        raise Problem("instance_not_found")
    chat = query.chat_jid
    return messages.page(
        conn,
        vault,
        customer_id=who.customer_id,
        mode=who.mode,
        instance_id=instance.id,
        chat=None if chat is None else str(chat),
        direction=query.direction,
        since=query.since_ms,
        limit=query.limit,
        cursor=cursor,
    )


def _is_near(query: MessagesQuery, _who: Principal) -> bool:
    """Whether a page is the newest rows of an instance, whatever they are."""
    return query.chat is None and query.direction is None and query.limit <= NEAR_ROWS


async def show(exchange: Exchange[Nothing, MessageQuery]) -> Answer:
    """Show one message and how its delivery went."""
    row, history = await exchange.edge.system.database.look(partial(_read_one, exchange))
    return Answer(MessageWithHistory.after(row, history))


def _read_one(exchange: Exchange[Any, MessageQuery], conn: Any, vault: Vault) -> tuple[Message, list[Moment]]:
    row = _find_message(exchange, conn, vault)
    return row, messages.history(conn, vault, row.id)


def _find_message(exchange: Exchange[Any, MessageQuery], conn: Any, vault: Vault) -> Message:
    """Read the message in the path.

    Raises:
        Problem: `instance_not_found`, `message_not_found`, or `validation_failed` for an id of WhatsApp's without chat.
    """
    who, reference, chat = exchange.principal, exchange.params["message_id"], exchange.query.chat_jid
    instance = instances.get(conn, vault, exchange.instance_id, who.customer_id, who.mode)
    if instance is None:
        raise Problem("instance_not_found")
    found: Message | None = None
    if _OURS.match(reference):
        found = messages.get(
            conn, vault, reference, customer_id=who.customer_id, mode=who.mode, instance_id=instance.id
        )
    elif chat is None:
        raise Problem("validation_failed", "an id of WhatsApp's holds within its chat: add ?chat=", field="chat")
    elif _WHATSAPPS.match(reference):
        found = next(iter(messages.by_wa_id(conn, vault, instance.id, reference, str(chat))), None)
    if found is None:
        raise Problem("message_not_found")
    return found


async def mark_read(exchange: Exchange[Nothing, MessageQuery]) -> Answer:
    """Tell the author of a message that it was read."""
    row = await exchange.edge.system.database.look(partial(_find_message, exchange))
    if row.direction != "in":
        raise Problem("validation_failed", "only messages from others can be read", field="message_id")
    author = None if row.chat == row.author else row.author
    await exchange.edge.ask(row.instance_id, MarkRead(row.chat, author, (row.wa_id,)))
    return Answer(MessageBody.of(row))


async def set_presence(exchange: Exchange[SetPresenceRequest, NoQuery]) -> Answer:
    """Show a chat that somebody types or records."""
    await find(exchange)
    chat, presence = str(read_address(exchange.params["jid"], "jid")), exchange.body.presence
    await exchange.edge.ask(exchange.instance_id, SetPresence(chat, presence))
    return Answer(PresenceBody(chat=chat, presence=presence))


async def check_contact(exchange: Exchange[Nothing, NoQuery]) -> Answer:
    """Ask WhatsApp whether it knows a number."""
    row = await find(exchange)
    number = read_number(exchange.params["phone"], "phone")
    if row.mode is Mode.LIVE:
        require_possible(read_address(number, "phone"), "phone")
    found = await exchange.edge.ask(row.id, CheckContact(number))
    return Answer(ContactExists(exists=found.exists, phone=found.phone, lid=found.lid))


_MESSAGES: Final = "/v1/instances/{instance_id}/messages"
_ASKED: Final = ("instance_not_found", "not_connected", "mailbox_full", "instance_restarting")

ENDPOINTS: Final = (
    Endpoint(
        method="POST",
        path=_MESSAGES,
        name="send_message",
        summary="Accept a message; it is sent as soon as the instance can, in the order of the chat.",
        handler=send,
        scope="messages:send",
        body=SendMessage,
        reply=AcceptedMessage,
        status=202,
        takes_idempotency_key=True,
        problems=(
            "instance_not_found",
            "not_connected",
            "target_not_found",
            "media_not_supported_yet",
            "chat_not_supported_yet",
        ),
    ),
    Endpoint(
        method="GET",
        path=_MESSAGES,
        name="list_messages",
        summary="List an instance's messages both ways, newest first.",
        handler=list_,
        near=_is_near,
        scope="messages:read",
        query=MessagesQuery,
        reply=MessagePage,
        problems=("instance_not_found", "bad_cursor"),
    ),
    Endpoint(
        method="GET",
        path=f"{_MESSAGES}/{{message_id}}",
        name="get_message",
        summary="Show a message and how its delivery went.",
        handler=show,
        scope="messages:read",
        query=MessageQuery,
        reply=MessageWithHistory,
        problems=("instance_not_found", "message_not_found"),
    ),
    Endpoint(
        method="POST",
        path=f"{_MESSAGES}/{{message_id}}/read",
        name="read_message",
        summary="Tell the author of a message that it was read.",
        handler=mark_read,
        scope="messages:send",
        further_scopes=("messages:read",),
        query=MessageQuery,
        reply=MessageBody,
        problems=(*_ASKED, "message_not_found"),
    ),
    Endpoint(
        method="POST",
        path="/v1/instances/{instance_id}/chats/{jid}/presence",
        name="set_chat_presence",
        summary="Show a chat that somebody is typing or recording, or has paused; it ends by itself.",
        handler=set_presence,
        scope="messages:send",
        body=SetPresenceRequest,
        reply=PresenceBody,
        problems=(*_ASKED, "chat_not_supported_yet"),
    ),
    Endpoint(
        method="GET",
        path="/v1/instances/{instance_id}/contacts/{phone}/exists",
        name="check_contact",
        summary="Ask WhatsApp whether a number has an account.",
        handler=check_contact,
        scope="messages:send",
        reply=ContactExists,
        problems=(*_ASKED, "too_many_checks", "check_failed"),
    ),
)
