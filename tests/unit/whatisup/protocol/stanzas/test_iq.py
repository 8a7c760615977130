"""Requests, answers and ids, from both sides."""

from __future__ import annotations

import pytest

from tests.playbook import UNIX, seeded, travel
from whatisup.jid import SERVER, Jid
from whatisup.protocol.stanzas.iq import (
    ERROR_TEXTS,
    IdSequence,
    Refusal,
    build_error,
    build_request,
    build_result,
    build_server_request,
    is_answer,
    parse_refusal,
    parse_unix,
)
from whatisup.wire import Node

GROUPS = Jid("", "g.us")
REQUEST = build_request("1.2-3", "get", "encrypt", Node("count"))


def test_ids_have_baileys_form_and_count_from_1() -> None:
    ids = IdSequence(lambda n: b"\x01\x02\xff\xff")
    assert [ids.next_id() for _ in range(3)] == ["258.65535-1", "258.65535-2", "258.65535-3"]


def test_ids_of_two_connections_differ() -> None:
    assert IdSequence(seeded(1)).next_id() != IdSequence(seeded(2)).next_id()


def test_request_travels() -> None:
    node = travel(REQUEST)
    assert node == REQUEST
    assert not is_answer(node)


def test_result_mirrors_a_clients_request() -> None:
    answer = travel(build_result(REQUEST, Node("count", {"value": "1"}), server_unix=UNIX))
    assert answer.attrs == {"from": SERVER, "type": "result", "id": "1.2-3", "t": str(UNIX)}
    assert is_answer(answer)
    assert parse_refusal(answer) is None


def test_result_to_a_group_comes_from_that_group() -> None:
    assert build_result(build_request("1", "get", "w:g2", to=GROUPS)).attrs["from"] == GROUPS


def test_result_to_a_request_without_address_comes_from_the_server() -> None:
    assert build_result(Node("iq", {"id": "1"})).attrs["from"] == SERVER


def test_result_mirrors_a_servers_request() -> None:
    request = build_server_request("9", "set", "md", server_unix=UNIX)
    assert request.attrs["t"] == str(UNIX)
    assert build_result(request).attrs == {"to": SERVER, "type": "result", "id": "9"}


def test_result_to_a_request_without_id_has_none() -> None:
    assert "id" not in build_result(Node("iq", {"from": SERVER})).attrs


@pytest.mark.parametrize("code", sorted(ERROR_TEXTS))
def test_error_travels_with_its_usual_text(code: int) -> None:
    answer = travel(build_error(REQUEST, code))
    assert answer.attrs["type"] == "error"
    assert parse_refusal(answer) == Refusal(code, ERROR_TEXTS[code])


def test_error_carries_its_own_text_and_backoff() -> None:
    answer = travel(build_error(REQUEST, 429, "slow-down", backoff_s=30))
    assert parse_refusal(answer) == Refusal(429, "slow-down", 30)


def test_an_error_child_is_a_refusal_whatever_the_type() -> None:
    node = Node("iq", {"type": "result"}, (Node("error", {"code": "404"}),))
    assert parse_refusal(node) == Refusal(404, "")


@pytest.mark.parametrize(
    ("node", "refusal"),
    [
        (Node("iq", {"type": "error"}), Refusal(500, "")),
        (Node("iq", {"type": "error"}, (Node("error", {"code": "x", "backoff": "y"}),)), Refusal(500, "")),
        (Node("iq", {}, (Node("error", {"code": "0", "text": "z" * 300}),)), Refusal(0, "z" * 200)),
    ],
)
def test_an_unreadable_error_is_a_refusal(node: Node, refusal: Refusal) -> None:
    assert parse_refusal(node) == refusal


@pytest.mark.parametrize(
    ("text", "unix"), [("0", 0), (str(UNIX), UNIX), ("-1", None), ("9" * 11, None), ("", None), ("1.5", None)]
)
def test_parse_unix(text: str, unix: int | None) -> None:
    assert parse_unix(Node("success", {"t": text})) == unix
