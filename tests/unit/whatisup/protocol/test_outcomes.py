"""Every row of the failure and stream error tables, and what an odd stanza of that kind means."""

from __future__ import annotations

import pytest

from tests.playbook import OWN, OWN_LID, UNIX, travel
from whatisup.lifecycle import Trigger as T
from whatisup.protocol.outcomes import (
    FAILURES,
    MAX_BAN_S,
    STREAM_ERRORS,
    Outcome,
    Success,
    build_failure,
    build_stream_end,
    build_stream_error,
    build_success,
    parse_failure,
    parse_stream_error,
    parse_success,
)
from whatisup.wire import Node, encode_node

FAILURE_ROWS = [
    (400, T.CONNECT_FAILURE),
    (401, T.LOGGED_OUT),
    (403, T.ACCOUNT_LOCKED),
    (405, T.CLIENT_OUTDATED),
    (406, T.BANNED),
    (409, T.BAD_USER_AGENT),
    (413, T.CONNECT_FAILURE),
    (414, T.CONNECT_FAILURE),
    (415, T.CONNECT_FAILURE),
    (418, T.CONNECT_FAILURE),
    (500, T.SERVER_UNAVAILABLE),
    (501, T.SERVER_UNAVAILABLE),
    (503, T.SERVER_UNAVAILABLE),
    (599, T.SERVER_UNAVAILABLE),
    (7, T.SERVER_UNAVAILABLE),
]

STREAM_ROWS = [
    (build_stream_error(515), Outcome(T.RESTART_REQUIRED, 515)),
    (build_stream_error(401), Outcome(T.LOGIN_REFUSED_ONCE, 401)),
    (build_stream_error(503), Outcome(T.SERVER_UNAVAILABLE, 503)),
    (build_stream_error(516), Outcome(T.FORCED_LOGOUT, 516)),
    (build_stream_error(500), Outcome(T.CONNECTION_LOST, 500)),
    (build_stream_error(413), Outcome(T.CONNECTION_LOST, 413)),
    (build_stream_error(401, conflict="device_removed"), Outcome(T.DEVICE_REMOVED, 401)),
    (build_stream_error(516, conflict="device_removed"), Outcome(T.DEVICE_REMOVED, 516)),
    (build_stream_error(conflict="device_removed"), Outcome(T.DEVICE_REMOVED)),
    (build_stream_error(conflict="replaced"), Outcome(T.REPLACED)),
    (build_stream_error(401, conflict="replaced"), Outcome(T.REPLACED, 401)),
    (build_stream_error(401, conflict="newer"), Outcome(T.LOGIN_REFUSED_ONCE, 401)),
    (build_stream_error(conflict="newer"), Outcome(T.CONNECTION_LOST)),
    (build_stream_error(child=Node("xml-not-well-formed")), Outcome(T.CONNECTION_LOST, detail="xml_not_well_formed")),
    (build_stream_error(child=Node("ack", {"id": "1"})), Outcome(T.CONNECTION_LOST, detail="ack_rejected")),
    (build_stream_error(), Outcome(T.CONNECTION_LOST)),
    (Node("stream:error", {"code": "teapot"}), Outcome(T.CONNECTION_LOST)),
]


@pytest.mark.parametrize(("reason", "trigger"), FAILURE_ROWS)
def test_failure(reason: int, trigger: T) -> None:
    assert parse_failure(travel(build_failure(reason))) == Outcome(trigger, reason)


def test_rows_cover_the_tables() -> None:
    assert {reason for reason, _ in FAILURE_ROWS} >= set(FAILURES) - {402}
    assert {outcome.code for _, outcome in STREAM_ROWS} >= set(STREAM_ERRORS)


@pytest.mark.parametrize("reason", [402, 403, 999])
def test_failure_with_code_and_expiry_is_a_temporary_ban(reason: int) -> None:
    node = travel(build_failure(reason, ban_code=104, expires_in_s=3600))
    assert parse_failure(node) == Outcome(T.TEMP_BANNED, reason, 3600.0, "sent_too_many_same_message")


def test_failure_402_alone_is_a_ban_of_unknown_length() -> None:
    assert parse_failure(build_failure(402)) == Outcome(T.TEMP_BANNED, 402)
    assert parse_failure(build_failure(402, ban_code=199)) == Outcome(T.TEMP_BANNED, 402)


@pytest.mark.parametrize(("expire", "length"), [("-5", 0.0), ("9" * 20, float(MAX_BAN_S)), ("soon", None)])
def test_failure_expiry_is_bounded(expire: str, length: float | None) -> None:
    node = Node("failure", {"reason": "402", "expire": expire})
    assert parse_failure(node).expires_in_s == length


@pytest.mark.parametrize("attrs", [{}, {"reason": "x"}, {"reason": ""}])
def test_failure_without_a_readable_reason_is_transient(attrs: dict[str, str]) -> None:
    assert parse_failure(Node("failure", attrs)) == Outcome(T.SERVER_UNAVAILABLE)


@pytest.mark.parametrize(("node", "outcome"), STREAM_ROWS)
def test_stream_error(node: Node, outcome: Outcome) -> None:
    assert parse_stream_error(travel(node)) == outcome


def test_only_what_is_certain_wipes() -> None:
    wiping = {T.LOGGED_OUT, T.DEVICE_REMOVED, T.FORCED_LOGOUT, T.ACCOUNT_LOCKED, T.BANNED}
    assert {code for code, trigger in FAILURES.items() if trigger in wiping} == {401, 403, 406}
    assert {code for code, trigger in STREAM_ERRORS.items() if trigger in wiping} == {516}


def test_stream_end_is_golden() -> None:
    assert encode_node(build_stream_end()).hex() == "00f80102"


def test_success_travels() -> None:
    assert parse_success(travel(build_success(OWN_LID, UNIX))) == Success(OWN_LID, UNIX)


@pytest.mark.parametrize(
    "attrs", [{}, {"lid": str(OWN_LID), "t": "now"}, {"lid": OWN, "t": "-1"}, {"lid": "", "t": "9" * 12}]
)
def test_success_stands_without_readable_attributes(attrs: dict[str, str]) -> None:
    assert parse_success(Node("success", attrs)) == Success(None, None)
