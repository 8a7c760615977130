"""Prekeys on the server: low, refused, lost; rotation and digest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.playbook import CREDENTIALS, ENTROPY, IDENTITY, Playbook
from whatisup.errors import LocalProtocolError
from whatisup.lifecycle import Trigger
from whatisup.protocol.credentials import SignedPrekey
from whatisup.protocol.dialogue.stock import ANSWER_S, BUDGET_S, DIGEST_AFTER_S, DIGEST_SPREAD_S, REST_S
from whatisup.protocol.events import (
    Closed,
    Connected,
    DigestChecked,
    NotificationReceived,
    PrekeysUploaded,
    PrekeysWanted,
    PrekeyUploadFailed,
    SignedPrekeyRotated,
    SignedPrekeyRotationFailed,
)
from whatisup.protocol.outcomes import build_stream_error
from whatisup.protocol.prekeys import (
    PublicIdentity,
    build_count,
    build_digest,
    build_low_notification,
    parse_rotation,
    parse_upload,
)
from whatisup.protocol.stanzas.iq import build_error, build_result
from whatisup.wire import Node

UPLOAD = ("encrypt", "registration")
COUNT = ("encrypt", "count")
DIGEST = ("encrypt", "digest")
NEW_KEY = SignedPrekey.generate(CREDENTIALS.identity, 2, ENTROPY)


def keys(first: int, count: int = 3) -> list[tuple[int, bytes]]:
    return [(key_id, ENTROPY(32)) for key_id in range(first, first + count)]


def low(count: int = 0) -> Playbook:
    """A login to a server that has `count` prekeys left."""
    book = Playbook.login()
    book.answers[COUNT] = lambda request: build_count(request, count)
    return book.let_in()


@pytest.mark.parametrize(("left", "wanted"), [(0, 812), (1, 50), (4, 50)])
def test_a_low_stock_wants_prekeys_before_the_login_goes_on(left: int, wanted: int) -> None:
    book = low(left)
    assert book.one(PrekeysWanted).count == wanted
    assert book.of(Connected) == []
    assert book.requests("passive") == []


def test_enough_prekeys_want_nothing() -> None:
    book = low(5)
    assert book.of(PrekeysWanted) == []
    assert book.of(Connected) == [Connected()]


def test_an_upload_is_what_the_server_can_read() -> None:
    book, prekeys = low(), keys(7)
    book.connection.upload_prekeys(prekeys, book.now)
    book.settle()
    (request,) = book.requests("encrypt", "registration")
    upload = parse_upload(request)
    assert (upload.identity, list(upload.prekeys)) == (IDENTITY, prekeys)
    assert book.one(PrekeysUploaded).key_ids == (7, 8, 9)
    assert book.of(Connected) == [Connected()]


def test_an_upload_of_nothing_is_our_bug() -> None:
    with pytest.raises(LocalProtocolError):
        low().connection.upload_prekeys([], 0.0)


def test_an_unanswered_upload_is_never_offered_again() -> None:
    book = low()
    del book.answers[UPLOAD]
    book.connection.upload_prekeys(keys(1), book.now)
    book.settle()
    book.advance(ANSWER_S)
    assert book.one(PrekeyUploadFailed) == PrekeyUploadFailed((1, 2, 3), outcome_unknown=True)
    # After a second the stock is counted anew, and new keys are wanted.
    book.advance(1)
    assert [event.count for event in book.of(PrekeysWanted)] == [812, 812]
    assert len(book.requests("encrypt", "registration")) == 1
    book.answers[UPLOAD] = build_result
    book.connection.upload_prekeys(keys(4), book.now)
    book.settle()
    assert book.one(PrekeysUploaded).key_ids == (4, 5, 6)
    assert book.of(Connected) == [Connected()]


def test_an_unanswered_upload_that_arrived_needs_no_second() -> None:
    book = low()
    del book.answers[UPLOAD]
    book.connection.upload_prekeys(keys(1), book.now)
    book.settle()
    book.answers[COUNT] = lambda request: build_count(request, 812)
    book.advance(ANSWER_S + 1)
    assert len(book.of(PrekeysWanted)) == 1
    assert book.of(Connected) == [Connected()]


def test_refused_uploads_are_tried_again_within_bounds() -> None:
    book = low()
    book.answers[UPLOAD] = lambda request: build_error(request, 500)
    wanted_at = []
    for first in range(1, 100, 3):
        if len(book.of(PrekeysWanted)) == len(wanted_at):
            break
        wanted_at.append(book.now)
        book.connection.upload_prekeys(keys(first), book.now)
        book.settle()
        book.advance(5 if len(wanted_at) == 3 else len(wanted_at))
    assert wanted_at == [0, 1, 3, 8]
    assert all(not event.outcome_unknown for event in book.of(PrekeyUploadFailed))
    assert len(book.of(PrekeyUploadFailed)) == 4
    assert book.of(Connected) == [Connected()]


def test_a_silent_server_holds_the_login_up_for_30_seconds() -> None:
    book = low()
    del book.answers[UPLOAD]
    tries = 0
    while not book.of(Connected):
        if len(book.of(PrekeysWanted)) > tries:
            tries += 1
            book.connection.upload_prekeys(keys(10 * tries), book.now)
            book.settle()
        book.advance(0.5)
    assert book.now == BUDGET_S
    assert tries == 3
    sent = [key_id for node in book.requests(*UPLOAD) for key_id, _ in parse_upload(node).prekeys]
    assert len(sent) == len(set(sent)) == 9


def test_the_servers_wish_for_peace_is_honoured() -> None:
    book = low()
    book.answers[UPLOAD] = lambda request: build_error(request, 429, backoff_s=7)
    book.connection.upload_prekeys(keys(1), book.now)
    book.settle()
    book.advance(6.9)
    assert len(book.of(PrekeysWanted)) == 1
    book.advance(0.1)
    assert len(book.of(PrekeysWanted)) == 2


def test_an_owner_that_never_uploads_is_not_waited_for() -> None:
    book = low().advance(BUDGET_S)
    assert book.of(Connected) == [Connected()]


@pytest.mark.parametrize(
    "answer", [lambda request: build_error(request, 500), lambda request: build_result(request, Node("count"))]
)
def test_an_uncountable_stock_does_not_hold_the_login_up(answer: Callable[[Node], Node]) -> None:
    book = Playbook.login()
    book.answers[COUNT] = answer
    book.let_in()
    assert book.of(Connected) == [Connected()]


def test_an_unanswered_count_holds_the_login_up_for_10_seconds() -> None:
    book = Playbook.login()
    del book.answers[COUNT]
    book.let_in().advance(9.9)
    assert book.of(Connected) == []
    book.advance(0.1)
    assert book.of(Connected) == [Connected()]


def test_a_low_notification_wants_more() -> None:
    book = Playbook.login().let_in()
    book.serve(build_low_notification("n1", 4, server_unix=1))
    assert book.one(PrekeysWanted).count == 50
    assert len(book.of(NotificationReceived)) == 1
    assert [node.attrs["id"] for node in book.tagged("ack")] == ["n1"]
    book.serve(build_low_notification("n2", 3, server_unix=1))
    assert len(book.of(PrekeysWanted)) == 1
    book.connection.upload_prekeys(keys(900), book.now)
    book.settle()
    assert len(book.of(PrekeysUploaded)) == 1
    book.advance(REST_S)
    book.serve(build_low_notification("n3", 3, server_unix=1))
    assert len(book.of(PrekeysWanted)) == 2


def test_a_server_that_is_always_low_is_asked_again_once_in_a_while() -> None:
    """It cannot make us mint keys in a loop, and a true word of it is not lost."""
    book = low()
    for number in range(3):
        wanted = len(book.of(PrekeysWanted))
        book.connection.upload_prekeys(keys(1 + 3 * number), book.now)
        book.settle()
        for hint in range(20):
            book.serve(build_low_notification(f"n{number}.{hint}", 0, server_unix=1))
        book.advance(REST_S - 1)
        assert len(book.of(PrekeysWanted)) == wanted
        book.advance(1)
        assert len(book.of(PrekeysWanted)) == wanted + 1


def test_a_notification_of_plenty_wants_nothing() -> None:
    book = Playbook.login().let_in().serve(build_low_notification("n1", 5, server_unix=1))
    assert book.of(PrekeysWanted) == []
    book.serve(build_low_notification("n2", 1, server_unix=1))
    assert book.one(PrekeysWanted).count == 50


def test_a_second_upload_at_once_is_refused() -> None:
    book = low()
    del book.answers[UPLOAD]
    book.connection.upload_prekeys(keys(1), book.now)
    book.connection.upload_prekeys(keys(4), book.now)
    book.settle()
    assert book.one(PrekeyUploadFailed) == PrekeyUploadFailed((4, 5, 6), outcome_unknown=False)
    assert len(book.requests(*UPLOAD)) == 1


def test_the_end_leaves_an_upload_unknown() -> None:
    book = low()
    del book.answers[UPLOAD]
    book.connection.upload_prekeys(keys(1), book.now)
    book.settle()
    book.serve(build_stream_error(515))
    assert book.events[-2:] == [
        PrekeyUploadFailed((1, 2, 3), outcome_unknown=True),
        Closed(Trigger.RESTART_REQUIRED, 515),
    ]


def test_a_pause_stands_still_while_we_do_not_read() -> None:
    book = low()
    book.answers[UPLOAD] = lambda request: build_error(request, 500)
    book.connection.upload_prekeys(keys(1), book.now)
    book.settle()
    book.connection.hold(book.now)
    book.advance(100)
    book.connection.resume(book.now)
    book.advance(0.9)
    assert len(book.of(PrekeysWanted)) == 1
    book.advance(0.1)
    assert len(book.of(PrekeysWanted)) == 2


def test_a_count_that_outlives_the_filling_wants_nothing() -> None:
    book = low()
    book.answers[UPLOAD] = lambda request: build_error(request, 429, backoff_s=25)
    book.connection.upload_prekeys(keys(1), book.now)
    book.settle()
    del book.answers[COUNT]
    book.advance(BUDGET_S)
    assert book.of(Connected) == [Connected()]
    book.serve(build_count(book.requests(*COUNT)[-1], 0))
    assert len(book.of(PrekeysWanted)) == 1


def test_a_late_upload_that_fails_is_not_tried_again() -> None:
    book = low().advance(BUDGET_S)
    book.answers[UPLOAD] = lambda request: build_error(request, 500)
    book.connection.upload_prekeys(keys(1), book.now)
    book.settle()
    book.advance(60)
    assert len(book.of(PrekeyUploadFailed)) == 1
    assert len(book.of(PrekeysWanted)) == 1


# Digest


@pytest.mark.parametrize(("identity", "matches"), [(IDENTITY, True), (replace(IDENTITY, registration_id=99), False)])
def test_digest_is_compared(identity: PublicIdentity, matches: bool) -> None:
    book = Playbook.login()
    book.answers[DIGEST] = lambda request: build_digest(request, identity, [(1, bytes(32))])
    book.let_in().advance(DIGEST_AFTER_S + DIGEST_SPREAD_S)
    assert book.one(DigestChecked).matches is matches


def test_a_server_without_our_bundle_is_given_one() -> None:
    book = Playbook.login()
    book.answers[DIGEST] = lambda request: build_error(request, 404)
    book.let_in().advance(DIGEST_AFTER_S + DIGEST_SPREAD_S)
    assert book.one(DigestChecked).matches is False
    assert book.one(PrekeysWanted).count == 812


def test_any_other_trouble_with_the_digest_is_harmless() -> None:
    book = Playbook.login()
    book.answers[DIGEST] = lambda request: build_error(request, 500)
    book.let_in().advance(DIGEST_AFTER_S + DIGEST_SPREAD_S + 70)
    assert book.of(DigestChecked) == []
    assert book.of(PrekeysWanted) == []


# Rotation


def test_rotation_reaches_the_server() -> None:
    book = Playbook.login().let_in()
    book.connection.rotate_signed_prekey(NEW_KEY, book.now)
    book.settle()
    (request,) = book.requests("encrypt", "rotate")
    assert parse_rotation(request, IDENTITY.identity).key_id == 2
    assert book.one(SignedPrekeyRotated).key_id == 2


def test_uploads_after_a_rotation_carry_the_new_key() -> None:
    book = Playbook.login().let_in()
    book.connection.rotate_signed_prekey(NEW_KEY, book.now)
    book.settle()
    book.connection.upload_prekeys(keys(1), book.now)
    book.settle()
    (request,) = book.requests(*UPLOAD)
    assert parse_upload(request).identity.signed_prekey.key_id == 2


def test_a_refused_rotation_changes_nothing() -> None:
    book = Playbook.login().let_in()
    book.answers["encrypt", "rotate"] = lambda request: build_error(request, 500)
    book.connection.rotate_signed_prekey(NEW_KEY, book.now)
    book.settle()
    assert book.one(SignedPrekeyRotationFailed) == SignedPrekeyRotationFailed(2, outcome_unknown=False)


def test_an_unanswered_rotation_is_unknown() -> None:
    book = Playbook.login().let_in()
    del book.answers["encrypt", "rotate"]
    book.connection.rotate_signed_prekey(NEW_KEY, book.now)
    book.settle()
    book.connection.connection_lost(book.now)
    book.settle()
    assert book.one(SignedPrekeyRotationFailed) == SignedPrekeyRotationFailed(2, outcome_unknown=True)
