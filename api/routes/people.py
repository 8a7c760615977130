"""Simulated people, for test keys: what they send, read and receive, so that a conversation can be tried and asserted.

Every simulated phone has a person behind it, so a contact is a phone (`sandbox.py`) that one talks with instead of
pairing it. A person may at any time be both.

Rule: as with phones, a number that is not the customer's does not exist; and within the sandbox a customer's people see
each other alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Final, Literal

import msgspec
import trio
from msgspec import Struct

from api.routes.sandbox import create_account, find_phone, linked_device, note, page_of_accounts
from api.schemas.people import (
    BurstBody,
    BurstList,
    ContactBurst,
    ContactNetwork,
    ContactPersona,
    ContactQueued,
    ContactReads,
    ContactSends,
    ContactTypes,
    ContactVotes,
    CreateContact,
    LogQuery,
    ReceivedByContact,
    ReceivedByContactLog,
    SandboxContact,
    SandboxContactPage,
    SeenByContact,
    SeenByContactLog,
    SentByContact,
    SentByContactLog,
)
from api.schemas.requests import NoQuery, Nothing, PageQuery
from api.serving.endpoint import Access, Answer, Endpoint, Exchange
from api.serving.idempotency import act_once
from whatisup import control

_CHAT_STATES: Final[Mapping[str, Literal["composing", "recording", "paused"]]] = {
    "typing": "composing",
    "recording": "recording",
    "paused": "paused",
}

Plain = Exchange[Nothing, NoQuery]


async def create(exchange: Exchange[CreateContact, NoQuery]) -> Answer:
    """Make a simulated person."""
    body = exchange.body
    return await create_account(exchange, body.number, SandboxContact.of, name=body.name, persona=body.persona)


async def list_(exchange: Exchange[Nothing, PageQuery]) -> Answer:
    """Show the customer's people in order of creation."""
    accounts, cursor = await page_of_accounts(exchange)
    return Answer(SandboxContactPage(data=[SandboxContact.of(one) for one in accounts], next_cursor=cursor))


async def show(exchange: Plain) -> Answer:
    """Show one person."""
    number = await _person(exchange)
    return Answer(SandboxContact.of(await exchange.edge.require_sandbox().account(number)))


async def _person(exchange: Exchange[Any, Any]) -> str:
    """The number in the path, if it is the customer's.

    Raises:
        Problem: `phone_not_found`.
    """
    return (await find_phone(exchange, exchange.params["number"])).number


async def _other(exchange: Exchange[Any, Any]) -> str:
    """The number that the body addresses.

    Raises:
        Problem: `phone_not_found`, `instance_not_found`, or `sandbox_refused` for an instance without a phone.
    """
    body = exchange.body
    if body.instance_id is None:
        return (await find_phone(exchange, body.to)).number
    return (await linked_device(exchange, body.instance_id))[0]


async def send(exchange: Exchange[ContactSends, NoQuery]) -> Answer:
    """Let the person send a message."""
    return await act_once(exchange, partial(_send, exchange), status=202)


async def _send(exchange: Exchange[ContactSends, NoQuery]) -> ContactQueued:
    number, to = await _person(exchange), await _other(exchange)
    said: dict[str, Any] = msgspec.to_builtins(exchange.body.body)
    with trio.CancelScope(shield=True):
        queued = await exchange.edge.require_sandbox().send_message(number, control.MessageRequest(to, said))
    return ContactQueued(wa_message_id=queued.id)


async def vote(exchange: Exchange[ContactVotes, NoQuery]) -> Answer:
    """Let the person vote in a poll."""
    return await act_once(exchange, partial(_vote, exchange), status=202)


async def _vote(exchange: Exchange[ContactVotes, NoQuery]) -> ContactQueued:
    number, to = await _person(exchange), await _other(exchange)
    request = control.VoteRequest(to, exchange.body.wa_message_id, exchange.body.options)
    with trio.CancelScope(shield=True):
        queued = await exchange.edge.require_sandbox().vote(number, request)
    return ContactQueued(wa_message_id=queued.id)


async def read(exchange: Exchange[ContactReads, NoQuery]) -> Answer:
    """Let the person read a chat."""
    number, chat = await _person(exchange), await _other(exchange)
    with trio.CancelScope(shield=True):
        await exchange.edge.require_sandbox().read(
            number, control.ReadRequest(chat, list(exchange.body.wa_message_ids))
        )
    return Answer(status=204)


async def type_(exchange: Exchange[ContactTypes, NoQuery]) -> Answer:
    """Let the person be seen typing."""
    number, to = await _person(exchange), await _other(exchange)
    state = _CHAT_STATES[exchange.body.presence]
    with trio.CancelScope(shield=True):
        await exchange.edge.require_sandbox().typing(number, control.TypingRequest(to, state))
    return Answer(status=204)


async def set_network(exchange: Exchange[ContactNetwork, NoQuery]) -> Answer:
    """Take the person's phone off the network, or back on it."""
    number = await _person(exchange)
    with trio.CancelScope(shield=True):
        account = await exchange.edge.require_sandbox().set_online(number, exchange.body.online)
        await note(exchange, "sandbox_contact.updated", number, {"online": exchange.body.online})
    return Answer(SandboxContact.of(account))


async def set_persona(exchange: Exchange[ContactPersona, NoQuery]) -> Answer:
    """Give the person another persona."""
    number = await _person(exchange)
    with trio.CancelScope(shield=True):
        account = await exchange.edge.require_sandbox().set_persona(number, exchange.body.persona)
        await note(exchange, "sandbox_contact.updated", number, {"persona": exchange.body.persona})
    return Answer(SandboxContact.of(account))


async def change_identity(exchange: Plain) -> Answer:
    """Give the person's phone new keys."""
    number = await _person(exchange)
    with trio.CancelScope(shield=True):
        await exchange.edge.require_sandbox().change_identity(number)
        await note(exchange, "sandbox_contact.identity_changed", number, {})
    return Answer(status=204)


async def burst(exchange: Exchange[ContactBurst, NoQuery]) -> Answer:
    """Let the person send many texts."""
    return await act_once(exchange, partial(_burst, exchange), status=202)


async def _burst(exchange: Exchange[ContactBurst, NoQuery]) -> BurstBody:
    number, to = await _person(exchange), await _other(exchange)
    body = exchange.body
    with trio.CancelScope(shield=True):
        begun = await exchange.edge.require_sandbox().burst(
            number, control.BurstRequest(to, body.count, body.rate, body.text)
        )
    return BurstBody.of(begun)


async def bursts(exchange: Plain) -> Answer:
    """Show the person's last bursts."""
    rows = await exchange.edge.require_sandbox().bursts(await _person(exchange))
    return Answer(BurstList(data=[BurstBody.of(row) for row in rows]))


async def received(exchange: Exchange[Nothing, LogQuery]) -> Answer:
    """Show what reached the person."""
    number, query = await _person(exchange), exchange.query
    rows = await exchange.edge.require_sandbox().received(number, after=query.after, limit=query.limit)
    return Answer(ReceivedByContactLog(data=[ReceivedByContact.of(row) for row in rows]))


async def sent(exchange: Exchange[Nothing, LogQuery]) -> Answer:
    """Show what the person sent."""
    number, query = await _person(exchange), exchange.query
    rows = await exchange.edge.require_sandbox().sent(number, after=query.after, limit=query.limit)
    return Answer(SentByContactLog(data=[SentByContact.of(row) for row in rows]))


async def seen(exchange: Plain) -> Answer:
    """Show who typed to the person, or came and went."""
    rows = await exchange.edge.require_sandbox().chat_states(await _person(exchange))
    return Answer(SeenByContactLog(data=[SeenByContact.of(row) for row in rows]))


_CONTACT: Final = "/v1/sandbox/contacts/{number}"
_REFUSED: Final = ("sandbox_refused", "phone_not_found")
_ADDRESSED: Final = (*_REFUSED, "instance_not_found")


def _endpoint(
    method: str,
    path: str,
    name: str,
    summary: str,
    handler: Any,
    reply: type[Struct] | None,
    problems: tuple[str, ...] = _REFUSED,
    scope: str | None = None,
    **more: Any,
) -> Endpoint:
    return Endpoint(
        method=method,
        path=path,
        name=name,
        summary=summary,
        handler=handler,
        access=Access.TEST_KEY,
        scope=scope or ("instances:read" if method == "GET" else "instances:write"),
        reply=reply,
        problems=problems,
        is_customer_wide=True,
        **more,
    )


ENDPOINTS: Final = (
    _endpoint(
        "POST",
        "/v1/sandbox/contacts",
        "create_sandbox_contact",
        "Create a simulated person.",
        create,
        SandboxContact,
        ("phone_exists", "sandbox_refused"),
        body=CreateContact,
        status=201,
        takes_idempotency_key=True,
    ),
    _endpoint(
        "GET",
        "/v1/sandbox/contacts",
        "list_sandbox_contacts",
        "List the simulated people: everybody behind a simulated phone.",
        list_,
        SandboxContactPage,
        ("bad_cursor",),
        query=PageQuery,
    ),
    _endpoint("GET", _CONTACT, "get_sandbox_contact", "Show a simulated person.", show, SandboxContact),
    _endpoint(
        "POST",
        f"{_CONTACT}/messages",
        "send_as_sandbox_contact",
        "Let the person send a message.",
        send,
        ContactQueued,
        _ADDRESSED,
        body=ContactSends,
        status=202,
        takes_idempotency_key=True,
    ),
    _endpoint(
        "POST",
        f"{_CONTACT}/votes",
        "vote_as_sandbox_contact",
        "Let the person vote in a poll.",
        vote,
        ContactQueued,
        _ADDRESSED,
        body=ContactVotes,
        status=202,
        takes_idempotency_key=True,
    ),
    _endpoint(
        "POST",
        f"{_CONTACT}/read",
        "read_as_sandbox_contact",
        "Let the person read a chat.",
        read,
        None,
        _ADDRESSED,
        body=ContactReads,
        status=204,
    ),
    _endpoint(
        "POST",
        f"{_CONTACT}/typing",
        "type_as_sandbox_contact",
        "Let the person be seen typing, recording or pausing.",
        type_,
        None,
        _ADDRESSED,
        body=ContactTypes,
        status=204,
    ),
    _endpoint(
        "POST",
        f"{_CONTACT}/online",
        "set_sandbox_contact_online",
        "Take the person's phone off the network, or back on it.",
        set_network,
        SandboxContact,
        body=ContactNetwork,
    ),
    _endpoint(
        "POST",
        f"{_CONTACT}/persona",
        "set_sandbox_contact_persona",
        "Give the person another persona.",
        set_persona,
        SandboxContact,
        body=ContactPersona,
    ),
    _endpoint(
        "POST",
        f"{_CONTACT}/bursts",
        "burst_as_sandbox_contact",
        "Let the person send many texts at a rate.",
        burst,
        BurstBody,
        _ADDRESSED,
        body=ContactBurst,
        status=202,
        takes_idempotency_key=True,
    ),
    _endpoint(
        "GET", f"{_CONTACT}/bursts", "list_sandbox_contact_bursts", "List the person's last bursts.", bursts, BurstList
    ),
    _endpoint(
        "GET",
        f"{_CONTACT}/received",
        "list_received_by_sandbox_contact",
        "Show what reached the person, decrypted, a row for each ciphertext.",
        received,
        ReceivedByContactLog,
        scope="messages:read",
        query=LogQuery,
    ),
    _endpoint(
        "GET",
        f"{_CONTACT}/sent",
        "list_sent_by_sandbox_contact",
        "Show what the person sent, and who has it.",
        sent,
        SentByContactLog,
        scope="messages:read",
        query=LogQuery,
    ),
    _endpoint(
        "GET",
        f"{_CONTACT}/seen",
        "list_seen_by_sandbox_contact",
        "Show who typed to the person, or came and went.",
        seen,
        SeenByContactLog,
    ),
    _endpoint(
        "POST",
        f"{_CONTACT}/identity-change",
        "change_identity_of_sandbox_contact",
        "Give the person's phone new keys, as when the app is installed anew.",
        change_identity,
        None,
        status=204,
    ),
)
