"""From `success` to connected, in order, and past every stumbling block."""

from __future__ import annotations

import pytest

from tests.playbook import ACCOUNT, OWN_LID, UNIX, Playbook
from whatisup.jid import Jid
from whatisup.protocol.dialogue.stock import DIGEST_AFTER_S, DIGEST_SPREAD_S
from whatisup.protocol.events import Connected, DigestChecked, FrameDropped, LoginSucceeded, PropsReceived
from whatisup.protocol.outcomes import build_success
from whatisup.protocol.stanzas.ib import parse_unified_session
from whatisup.protocol.stanzas.iq import build_error, build_result
from whatisup.wire import Node

BACKGROUND = [("encrypt", "digest"), ("abt", "props"), ("blocklist", ""), ("privacy", "privacy")]


def said(book: Playbook) -> list[str]:
    return [node.tag if node.first is None else node.first.tag for node in book.heard]


def test_steps_come_in_order() -> None:
    book = Playbook.login().let_in()
    assert said(book) == ["count", "active", "props", "iq", "privacy", "unified_session"]
    assert book.kinds() == ["LoginSucceeded", "Connected", "PropsReceived"]


def test_success_reports_the_lid_and_the_clock() -> None:
    other = Jid("200000011111", "lid", 7)
    book = Playbook.login().let_in(other)
    assert book.one(LoginSucceeded) == LoginSucceeded(other, UNIX)
    assert book.connection.is_logged_in


def test_success_without_attributes_stands() -> None:
    book = Playbook.login(unix_now=UNIX + 9.5).open()
    book.serve(Node("success"))
    assert book.one(LoginSucceeded) == LoginSucceeded(None, UNIX + 9)
    assert book.of(Connected) == [Connected()]


def test_nothing_is_asked_before_success() -> None:
    assert said(Playbook.login().open().advance(19)) == []


def test_connected_waits_for_active() -> None:
    book = Playbook.login()
    del book.answers["passive", "active"]
    book.let_in().advance(59)
    assert book.of(Connected) == []
    book.advance(1)
    assert book.of(Connected) == [Connected()]


def test_a_refused_active_connects_all_the_same() -> None:
    book = Playbook.login()
    book.answers["passive", "active"] = lambda request: build_error(request, 500)
    assert book.let_in().of(Connected) == [Connected()]


@pytest.mark.parametrize("query", BACKGROUND)
def test_a_background_query_may_be_refused(query: tuple[str, str]) -> None:
    book = Playbook.login()
    book.answers[query] = lambda request: build_error(request, 503)
    book.let_in().advance(DIGEST_AFTER_S + DIGEST_SPREAD_S + 120)
    assert book.of(Connected) == [Connected()]
    assert not book.connection.is_closed


def test_all_background_queries_may_stay_unanswered() -> None:
    book = Playbook.login()
    for query in BACKGROUND:
        del book.answers[query]
    book.let_in().advance(DIGEST_AFTER_S + DIGEST_SPREAD_S + 120)
    assert book.of(Connected) == [Connected()]
    assert not book.connection.is_closed


def test_the_digest_is_asked_once_and_long_after_the_login() -> None:
    book = Playbook.login().let_in().advance(DIGEST_AFTER_S - 1)
    assert "digest" not in said(book)
    book.advance(2 * DIGEST_SPREAD_S)
    assert said(book).count("digest") == 1
    assert len(book.of(DigestChecked)) == 1


def test_an_odd_digest_is_dropped_and_harmless() -> None:
    book = Playbook.login()
    book.answers["encrypt", "digest"] = build_result
    book.let_in().advance(DIGEST_AFTER_S + DIGEST_SPREAD_S)
    assert book.one(FrameDropped).reason == "an answer without a digest"
    assert book.of(Connected) == [Connected()]


def test_props_hash_goes_there_and_back() -> None:
    book = Playbook.login(props_hash="h1").let_in()
    (request,) = book.requests("abt")
    assert request.children()[0].attrs["hash"] == "h1"
    assert book.one(PropsReceived).hash == "h2"


def test_unified_session_follows_the_servers_clock() -> None:
    # Ours is a day behind; two seconds pass before the answer to `active`.
    book = Playbook.login(unix_now=UNIX - 86_400)
    del book.answers["passive", "active"]
    book.open()
    book.advance(5)
    book.serve(build_success(OWN_LID, UNIX)).advance(2)
    (request,) = book.requests("passive")
    book.serve(build_result(request))
    (session,) = book.tagged("ib")
    day = 86_400_000
    assert parse_unified_session(session.children()[0]) == str(((UNIX + 2) * 1000 + 3 * day) % (7 * day))


def test_a_second_success_is_dropped() -> None:
    book = Playbook.login().let_in().serve(build_success(ACCOUNT.lid, UNIX))
    assert book.one(FrameDropped).reason == "<success> while logged_in"
    assert len(book.of(LoginSucceeded)) == 1
