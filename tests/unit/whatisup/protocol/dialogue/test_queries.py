"""Questions about other people: one event each, whatever the server makes of them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.playbook import IDENTITY, UNIX, Answer, Playbook
from whatisup.errors import LocalProtocolError
from whatisup.jid import Jid
from whatisup.protocol.connection import Connection
from whatisup.protocol.dialogue.exchange import IQ_TIMEOUT_S
from whatisup.protocol.dialogue.queries import MAX_OUTSTANDING
from whatisup.protocol.events import (
    BundlesAnswered,
    Closed,
    ContactsChecked,
    DevicesAnswered,
    Event,
    FrameDropped,
    TokenIssued,
)
from whatisup.protocol.prekeys import Bundle, build_bundles, parse_bundle_query
from whatisup.protocol.stanzas.iq import Refusal, build_error, build_result
from whatisup.protocol.stanzas.tokens import parse_token_issue
from whatisup.protocol.stanzas.usync import (
    ContactFound,
    UserDevices,
    UsyncFound,
    UsyncUser,
    build_answer,
    parse_query,
)
from whatisup.wire import Node

FRIEND, FRIEND_LID = Jid("15550002222", "s.whatsapp.net"), Jid("200000022222", "lid")
STRANGER = Jid("15550009999", "s.whatsapp.net")
DEVICES = UserDevices(FRIEND, FRIEND_LID, ((0, None), (3, 1)))
BUNDLE = Bundle(IDENTITY, (1, bytes(32)))
USYNC, KEYS, TOKENS = ("usync", "usync"), ("encrypt", "key"), ("privacy", "tokens")


def online(answers: dict[tuple[str, str], Answer] | None = None) -> Playbook:
    book = Playbook.login().let_in()
    book.answers |= answers or {}
    book.events.clear()
    return book


def devices_of(*found: UserDevices) -> Answer:
    entries = [UsyncFound(UsyncUser(user.user), user.user, user, user.lid) for user in found]
    return lambda request: build_answer(request, parse_query(request), entries)


def test_devices_are_answered_for_whom_was_asked_about() -> None:
    book = online({USYNC: devices_of(DEVICES, UserDevices(STRANGER, None, ((0, None),)))})
    book.connection.query_devices([FRIEND], book.now)
    book.settle()
    assert book.one(DevicesAnswered) == DevicesAnswered((FRIEND,), (DEVICES,))


def test_bundles_are_answered_device_by_device() -> None:
    device, lost = FRIEND.with_device(3), FRIEND.with_device(4)
    found: list[tuple[Jid, Bundle | Refusal]] = [(device, BUNDLE), (lost, Refusal(404, "")), (STRANGER, BUNDLE)]
    book = online({KEYS: lambda request: build_bundles(request, found)})
    book.connection.fetch_bundles([device, lost], book.now, is_identity_change=True)
    book.settle()
    assert book.one(BundlesAnswered) == BundlesAnswered((device, lost), ((device, BUNDLE),), refused=((lost, 404),))
    (request,) = book.requests("encrypt", "key")
    assert parse_bundle_query(request) == (device, lost)


def test_contacts_are_answered_for_the_numbers_asked_about() -> None:
    entries = [
        UsyncFound(UsyncUser(None, f"+{jid.user}"), jid, lid=FRIEND_LID, contact="in") for jid in (FRIEND, STRANGER)
    ]
    book = online({USYNC: lambda request: build_answer(request, parse_query(request), entries)})
    book.connection.check_contacts([FRIEND.user], book.now)
    book.settle()
    found = (ContactFound(FRIEND.user, True, FRIEND, FRIEND_LID, FRIEND),)
    assert book.one(ContactsChecked) == ContactsChecked((FRIEND.user,), found)


def test_a_token_is_issued() -> None:
    book = online({TOKENS: build_result})
    book.connection.issue_token(FRIEND_LID, UNIX, book.now)
    book.settle()
    assert book.one(TokenIssued) == TokenIssued(FRIEND_LID, UNIX, ok=True)
    (request,) = book.requests("privacy", "tokens")
    assert parse_token_issue(request) == ((FRIEND_LID, UNIX),)


ASKING: tuple[tuple[Callable[[Connection, float], None], Callable[[int], Event]], ...] = (
    (
        lambda connection, now: connection.query_devices([FRIEND], now),
        lambda code: DevicesAnswered((FRIEND,), (), code),
    ),
    (
        lambda connection, now: connection.fetch_bundles([FRIEND], now),
        lambda code: BundlesAnswered((FRIEND,), (), code),
    ),
    (lambda connection, now: connection.check_contacts(["1"], now), lambda code: ContactsChecked(("1",), (), code)),
    (lambda connection, now: connection.issue_token(FRIEND, 1, now), lambda _: TokenIssued(FRIEND, 1, ok=False)),
)


@pytest.mark.parametrize(("ask", "failed"), ASKING)
@pytest.mark.parametrize("code", [429, 500])
def test_a_refusal_comes_through(
    ask: Callable[[Connection, float], None], failed: Callable[[int], Event], code: int
) -> None:
    refuse: Answer = lambda request: build_error(request, code)  # noqa: E731  # the type needs the name
    book = online({USYNC: refuse, KEYS: refuse, TOKENS: refuse})
    ask(book.connection, book.now)
    book.settle()
    assert book.events == [failed(code)]


@pytest.mark.parametrize(("ask", "failed"), ASKING)
def test_silence_is_a_failure(ask: Callable[[Connection, float], None], failed: Callable[[int], Event]) -> None:
    book = online()
    ask(book.connection, book.now)
    book.settle()
    book.advance(IQ_TIMEOUT_S - 1)
    assert failed(408) not in book.events
    book.advance(1)
    assert failed(408) in book.events


@pytest.mark.parametrize(("ask", "failed"), ASKING[:3])
def test_an_answer_that_cannot_be_read_is_a_failure(
    ask: Callable[[Connection, float], None], failed: Callable[[int], Event]
) -> None:
    book = online({USYNC: build_result, KEYS: build_result})
    ask(book.connection, book.now)
    book.settle()
    assert [type(event) for event in book.events] == [FrameDropped, type(failed(500))]
    assert book.events[1] == failed(500)


@pytest.mark.parametrize(("ask", "failed"), ASKING)
def test_too_much_at_once_fails_at_once(
    ask: Callable[[Connection, float], None], failed: Callable[[int], Event]
) -> None:
    book = online()
    for _ in range(MAX_OUTSTANDING):
        book.connection.query_devices([STRANGER], book.now)
    assert book.connection.next_event() is None
    ask(book.connection, book.now)
    assert book.connection.next_event() == failed(503)
    book.settle()
    book.advance(IQ_TIMEOUT_S)
    book.events.clear()
    ask(book.connection, book.now)
    book.settle()
    assert book.events == []


def test_the_end_speaks_for_all_questions() -> None:
    book = online()
    for ask, _ in ASKING:
        ask(book.connection, book.now)
    book.connection.connection_lost(book.now)
    for ask, _ in ASKING:
        ask(book.connection, book.now)
    book.connection.send([Node("presence")], book.now)
    book.settle()
    assert [type(event) for event in book.events] == [Closed]


def test_questions_need_a_login() -> None:
    book = Playbook.login().open()
    for ask, _ in ASKING:
        with pytest.raises(LocalProtocolError):
            ask(book.connection, book.now)
    with pytest.raises(LocalProtocolError):
        book.connection.send([Node("presence")], book.now)
