"""Each switch, with both behaviours."""

from __future__ import annotations

import pytest

from tests.unit.whatisup.sandbox.bench import Raw
from tests.unit.whatisup.sandbox.town import ADA, BOB, Town, leave, make_town
from whatisup.control import SWITCHES
from whatisup.jid import Jid
from whatisup.protocol.stanzas.ack import build_ack
from whatisup.protocol.stanzas.ib import build_offline_batch
from whatisup.protocol.stanzas.receipt import build_receipt
from whatisup.protocol.stanzas.usync import build_device_query
from whatisup.sandbox.hub import UNKNOWN_TAG
from whatisup.sandbox.switches import parse_switches
from whatisup.wire import Node


def town_with(switch: str, *, is_on: bool) -> Town:
    return make_town([switch] if is_on else [])


def shown(nodes: list[Node]) -> list[str]:
    """Ids of messages, and `end` for the end of the backlog."""
    return [
        str(node.attrs["id"]) if node.tag == "message" else "end"
        for node in nodes
        if node.tag == "message" or node.child("offline") is not None
    ]


def fill(town: Town, count: int) -> None:
    for number in range(count):
        town.route(ADA, 1, town.to_bob(f"M{number}"))


def test_switches_are_read_by_name() -> None:
    assert parse_switches(["429", "no-id-dedupe"]) == {"429", "no-id-dedupe"}
    with pytest.raises(ValueError, match="no switch is called 'nonsense'"):
        parse_switches(["nonsense"])
    with pytest.raises(ValueError, match="exclude each other"):
        parse_switches(["push-queue", "pull-queue"])


def test_every_switch_has_its_words() -> None:
    assert {
        "no-id-dedupe",
        "nack-keeps",  # in test_receipts
        "push-queue",
        "pull-queue",
        "live-held-back",
        "receipt-lost-on-close",
        "no-ib-offline",
        "reused-id",
        "unknown-tag",
        "429",
        "token-rule",  # in test_router
    } == set(SWITCHES)


@pytest.mark.parametrize("is_on", [False, True])
def test_no_id_dedupe(is_on: bool) -> None:
    town = town_with("no-id-dedupe", is_on=is_on)
    for _ in range(2):
        town.route(ADA, 1, town.to_bob())
    assert len(town.phones.of(BOB)) == (2 if is_on else 1)


@pytest.mark.parametrize("is_on", [False, True])
def test_reused_id(is_on: bool) -> None:
    town = town_with("reused-id", is_on=is_on)
    for body in (b"one", b"two", b"two"):
        town.route(ADA, 1, town.to_bob(body=body))
    assert len(town.phones.of(BOB)) == (2 if is_on else 1), "the same bytes come once in any case"


def test_queue_is_primed_and_then_pulled() -> None:
    town = make_town()
    fill(town, 8)
    raw = Raw.active(town.bob)
    assert shown(raw.received()) == ["M0", "M1", "M2", "M3", "M4"]
    raw.send(build_offline_batch(2))
    assert shown(raw.received()) == ["M5", "M6"]
    raw.send(build_offline_batch(100))
    assert shown(raw.received()) == ["M7", "end"]


@pytest.mark.parametrize("is_on", [False, True])
def test_pull_queue(is_on: bool) -> None:
    town = town_with("pull-queue", is_on=is_on)
    fill(town, 7)
    raw = Raw.active(town.bob)
    raw.received()
    town.bench.hands.now += 3
    town.bench.server.tick()
    assert shown(raw.received()) == ([] if is_on else ["M5", "M6", "end"])


def test_push_queue() -> None:
    town = make_town(["push-queue"])
    fill(town, 8)
    assert shown(Raw.active(town.bob).received()) == [*(f"M{number}" for number in range(8)), "end"]


@pytest.mark.parametrize("is_on", [False, True])
def test_live_held_back(is_on: bool) -> None:
    town = town_with("live-held-back", is_on=is_on)
    fill(town, 6)
    raw = Raw.active(town.bob)
    raw.received()
    live = Node(
        "receipt", {"id": "X1", "to": Jid(BOB, "s.whatsapp.net", 1), "type": "sender", "recipient": town.pn(ADA)}
    )
    town.route(BOB, 0, live)
    assert [node.tag for node in raw.received()] == ([] if is_on else ["receipt"])
    raw.send(build_offline_batch(100))
    assert [node.tag for node in raw.received()] == ["message", *(["receipt"] if is_on else []), "ib"]


@pytest.mark.parametrize("is_on", [False, True])
def test_no_ib_offline(is_on: bool) -> None:
    town = town_with("no-ib-offline", is_on=is_on)
    fill(town, 1)
    assert shown(Raw.active(town.bob).received()) == ["M0"] + ([] if is_on else ["end"])


@pytest.mark.parametrize("is_on", [False, True])
def test_receipt_lost_on_close(is_on: bool) -> None:
    town = town_with("receipt-lost-on-close", is_on=is_on)
    fill(town, 2)
    raw = Raw.active(town.bob)
    raw.send(build_receipt(["M0"], town.lid(ADA, 1)))
    town.bench.hands.now += 1.1
    town.bench.server.tick()
    raw.send(build_receipt(["M1"], town.lid(ADA, 1)))
    leave(raw)
    assert shown(Raw.active(town.bob).received()) == (["M1"] if is_on else []) + ["end"]
    assert len(town.phones.of(ADA, "receipt")) == (1 if is_on else 2)


@pytest.mark.parametrize("is_on", [False, True])
def test_unknown_tag(is_on: bool) -> None:
    town = town_with("unknown-tag", is_on=is_on)
    for _ in range(2):
        raw = Raw.active(town.bob)
        odd = [node for node in raw.received() if node.tag == UNKNOWN_TAG]
        assert len(odd) == (1 if is_on else 0), "once at a time, until it is acknowledged"
        leave(raw)
    if is_on:
        raw = Raw.active(town.bob)
        raw.send(*[build_ack(node) for node in raw.received() if node.tag == UNKNOWN_TAG])
        assert town.waiting(BOB) == 0


@pytest.mark.parametrize("is_on", [False, True])
def test_429(is_on: bool) -> None:
    town = town_with("429", is_on=is_on)
    raw = Raw.active(town.bob)
    devices = build_device_query("1", [town.lid(ADA)]).children()
    bundles = (Node("key", {}, (Node("user", {"jid": town.lid(ADA)}),)),)
    for xmlns, children in (("usync", devices), ("encrypt", bundles)):
        first, second = raw.ask("get", xmlns, *children), raw.ask("get", xmlns, *children)
        assert (first.attrs["type"], second.attrs["type"]) == ("error" if is_on else "result", "result")
        if is_on:
            assert first.children()[0].attrs == {"code": "429", "text": "rate-overlimit", "backoff": "1"}
    assert raw.ask("get", "encrypt", Node("count")).attrs["type"] == "result"
