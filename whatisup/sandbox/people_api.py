"""The part of the control API that tells people what to do, and shows what they have read and sent.

Rule: what a phone is told is kept and answered at once; its logs say what becomes of it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, Protocol, TypeAlias

from whatisup import control
from whatisup.protocol.content.bodies import InvalidBody, parse_body
from whatisup.sandbox.accounts import Account
from whatisup.sandbox.openapi import Route
from whatisup.sandbox.people import People
from whatisup.sandbox.people.writing import VOTE
from whatisup.sandbox.refusal import Refused

Params: TypeAlias = Mapping[str, str]

_NUMBER: Final = re.compile(r"[0-9]{1,18}")
_ACCOUNT: Final = "/sandbox/accounts/{number}"


class PeopleApi(Protocol):
    """What these handlers need of the control API."""

    @property
    def people(self) -> People:
        """The people who are told what to do."""

    def account(self, params: Params) -> Account:
        """Return the account that a path names. Raises `Refused` (404)."""

    def account_view(self, account: Account) -> control.Account:
        """Return an account as the API shows it."""


async def _send_message(api: PeopleApi, params: Params, request: control.MessageRequest) -> control.MessageQueued:
    try:
        parse_body(request.body)
    except InvalidBody as error:
        raise Refused(400, "bad_body", str(error)) from None
    number = api.account(params).number
    return control.MessageQueued(api.people.send(number, request.to, request.body, request.id))


async def _post(api: PeopleApi, params: Params, request: control.PostRequest) -> control.MessageQueued:
    return control.MessageQueued(api.people.post(api.account(params).number, request))


async def _reply(api: PeopleApi, params: Params, request: control.ReplyRequest) -> control.MessageQueued:
    body = {"type": "text", "text": request.text, "reply_to": request.message_id}
    return await _send_message(api, params, control.MessageRequest(request.to, body))


async def _vote(api: PeopleApi, params: Params, request: control.VoteRequest) -> control.MessageQueued:
    body = {"type": VOTE, "poll": request.message_id, "options": request.options}
    return control.MessageQueued(api.people.send(api.account(params).number, request.to, body))


async def _read(api: PeopleApi, params: Params, request: control.ReadRequest) -> None:
    api.people.read(api.account(params).number, request.chat, request.ids)


async def _show_typing(api: PeopleApi, params: Params, request: control.TypingRequest) -> None:
    api.people.show_typing(api.account(params).number, request)


async def _set_online(api: PeopleApi, params: Params, request: control.OnlineRequest) -> control.Account:
    account = api.account(params)
    api.people.set_up(account.number, is_online=request.online)
    return api.account_view(account)


async def _set_persona(api: PeopleApi, params: Params, request: control.PersonaRequest) -> control.Account:
    account = api.account(params)
    api.people.set_up(account.number, persona=request.persona)
    return api.account_view(account)


async def _change_identity(api: PeopleApi, params: Params, request: None) -> None:
    api.people.renew(api.account(params).number)


async def _start_burst(api: PeopleApi, params: Params, request: control.BurstRequest) -> control.Burst:
    return api.people.start_burst(api.account(params).number, request)


async def _list_bursts(api: PeopleApi, params: Params, request: None) -> control.Bursts:
    return api.people.bursts(api.account(params).number)


async def _list_received(api: PeopleApi, params: Params, request: None) -> control.ReceivedMessages:
    return api.people.received(api.account(params).number, *_page(params))


async def _list_sent(api: PeopleApi, params: Params, request: None) -> control.SentMessages:
    return api.people.sent(api.account(params).number, *_page(params))


async def _list_chat_states(api: PeopleApi, params: Params, request: None) -> control.ChatStates:
    return api.people.chat_states(api.account(params).number)


def _page(params: Params) -> tuple[int, int]:
    """Read `after` and `limit`. Raises `Refused` (400)."""
    after, limit = (params.get(name, default) for name, default in (("after", "0"), ("limit", str(control.MAX_PAGE))))
    if not (_NUMBER.fullmatch(after) and _NUMBER.fullmatch(limit) and 1 <= int(limit) <= control.MAX_PAGE):
        raise Refused(400, "bad_request", f"after is a position, limit is 1 to {control.MAX_PAGE}")
    return int(after), int(limit)


PEOPLE_ROUTES: Final = (
    Route(
        "POST",
        f"{_ACCOUNT}/messages",
        "Let the phone send something",
        _send_message,
        request=control.MessageRequest,
        reply=control.MessageQueued,
        status=202,
        refusals=(404, 409, 429),
    ),
    Route(
        "POST",
        f"{_ACCOUNT}/posts",
        "Let the phone write to many: a group, its status, a broadcast list, a newsletter",
        _post,
        request=control.PostRequest,
        reply=control.MessageQueued,
        status=202,
        refusals=(404, 409, 429),
    ),
    Route(
        "POST",
        f"{_ACCOUNT}/replies",
        "Let the phone answer a message with a text that quotes it",
        _reply,
        request=control.ReplyRequest,
        reply=control.MessageQueued,
        status=202,
        refusals=(404, 429),
    ),
    Route(
        "POST",
        f"{_ACCOUNT}/votes",
        "Let the phone vote in a poll",
        _vote,
        request=control.VoteRequest,
        reply=control.MessageQueued,
        status=202,
        refusals=(404, 429),
    ),
    Route(
        "POST",
        f"{_ACCOUNT}/read",
        "Let the phone's owner read a chat",
        _read,
        request=control.ReadRequest,
        status=204,
        refusals=(404, 429),
    ),
    Route(
        "POST",
        f"{_ACCOUNT}/typing",
        "Let the phone's owner be seen typing",
        _show_typing,
        request=control.TypingRequest,
        status=204,
        refusals=(404, 429),
    ),
    Route(
        "POST",
        f"{_ACCOUNT}/online",
        "Take the phone off the network, or back on it",
        _set_online,
        request=control.OnlineRequest,
        reply=control.Account,
        refusals=(404,),
    ),
    Route(
        "POST",
        f"{_ACCOUNT}/persona",
        "Give the phone another persona",
        _set_persona,
        request=control.PersonaRequest,
        reply=control.Account,
        refusals=(404,),
    ),
    Route(
        "POST",
        f"{_ACCOUNT}/identity-change",
        "Give the phone new keys; its companions are unlinked",
        _change_identity,
        status=204,
        refusals=(404, 429),
    ),
    Route(
        "POST",
        f"{_ACCOUNT}/bursts",
        "Let the phone send many texts",
        _start_burst,
        request=control.BurstRequest,
        reply=control.Burst,
        status=201,
        refusals=(404,),
    ),
    Route(
        "GET",
        f"{_ACCOUNT}/bursts",
        "The phone's last bursts, oldest first",
        _list_bursts,
        reply=control.Bursts,
        refusals=(404,),
    ),
    Route(
        "GET",
        f"{_ACCOUNT}/received",
        "What reached the phone, a row for each ciphertext, in order",
        _list_received,
        reply=control.ReceivedMessages,
        refusals=(400, 404),
        query=("after", "limit"),
    ),
    Route(
        "GET",
        f"{_ACCOUNT}/sent",
        "What the phone was told to send, in order, and who has it",
        _list_sent,
        reply=control.SentMessages,
        refusals=(400, 404),
        query=("after", "limit"),
    ),
    Route(
        "GET",
        f"{_ACCOUNT}/chat-states",
        "Who typed to the phone, or came and went; the last hundred",
        _list_chat_states,
        reply=control.ChatStates,
        refusals=(404,),
    ),
)
