"""The tour's own parts: its client against a scripted server, its journal across a broken stream, its stage."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from api.demo.client import Client, Refused, Unreachable
from api.demo.conversation import arrive
from api.demo.gateway import Gateway, GatewayFailed
from api.demo.journal import Journal, Seen
from api.demo.scenes import SCENES
from api.demo.stage import Result, Stage
from api.demo.tour import Outcome, Scene, SceneFailed, Tour, play

KEY = "zpk_test_" + "k" * 43


@asynccontextmanager
async def scripted(*answers: bytes) -> AsyncIterator[tuple[Client, list[bytes]]]:
    """Listen on loopback; the n-th connection gets the n-th answer and is closed. Also the heads that came in."""
    heads: list[bytes] = []

    async def serve(stream: trio.SocketStream) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            head += await stream.receive_some()
        heads.append(head)
        await stream.send_all(answers[len(heads) - 1])
        await stream.aclose()

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, serve, 0)
        port = listeners[0].socket.getsockname()[1]
        yield Client("127.0.0.1", port, KEY, timeout_s=5.0), heads
        nursery.cancel_scope.cancel()


def answer(status: str, body: bytes) -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def event(number: int, name: str = "instance.status", **data: object) -> dict[str, object]:
    return {"event": name, "event_id": f"evt_{number}", "instance_id": "inst_1", "data": data}


def frames(*events: dict[str, object]) -> bytes:
    body = b": keepalive\n\n" + b"".join(f"id: {e['event_id']}\ndata: {json.dumps(e)}\n\n".encode() for e in events)
    return b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n" + body


async def test_client_sends_key_and_body_and_reads_json() -> None:
    async with scripted(answer("201 Created", b'{"id": "inst_1"}')) as (client, heads):
        assert await client.call("POST", "/v1/instances", {"name": "x"}) == {"id": "inst_1"}
    assert heads[0].startswith(b"POST /v1/instances HTTP/1.1\r\n")
    assert f"Authorization: Bearer {KEY}".encode().lower() in heads[0].lower()


async def test_client_raises_the_public_code() -> None:
    body = b'{"error": {"code": "session_exists", "message": "log out first"}, "request_id": "req_1"}'
    async with scripted(answer("409 Conflict", body)) as (client, _):
        with pytest.raises(Refused, match="session_exists") as caught:
            await client.call("GET", "/v1/instances/inst_1/qr")
    assert caught.value.status == 409


@pytest.mark.parametrize("broken", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab", b"garbage\r\n\r\n"])
async def test_client_names_a_broken_answer(broken: bytes) -> None:
    async with scripted(broken) as (client, _):
        with pytest.raises(Unreachable):
            await client.call("GET", "/healthz")


async def test_client_names_a_gateway_that_does_not_listen() -> None:
    async with scripted() as (client, _):
        pass
    with pytest.raises(Unreachable):
        await client.ask("GET", "/healthz")


def test_client_hides_its_key() -> None:
    assert KEY not in repr(Client("127.0.0.1", 1, KEY))


async def test_journal_reopens_after_the_last_event_and_misses_none() -> None:
    shown: list[str] = []
    first = frames(event(1, status="qr_required"), event(2, status="reconnecting"))
    async with scripted(first, b"", frames(event(3, status="connected"))) as (client, heads):
        journal = Journal(client, lambda seen: shown.append(seen.data["status"]))
        async with trio.open_nursery() as nursery:
            await nursery.start(journal.follow)
            with trio.fail_after(5):
                await journal.first(lambda seen: seen.is_status("connected"), since=0)
            nursery.cancel_scope.cancel()
    assert shown == ["qr_required", "reconnecting", "connected"]
    assert [b"evt_2" in head for head in heads] == [False, True, True]
    assert journal.reopened >= 1


async def test_journal_counts_only_what_comes_after_the_mark() -> None:
    journal = Journal(Client("127.0.0.1", 1), lambda _: None)
    journal._add(event(1, status="connected"))
    mark = journal.mark()
    with trio.move_on_after(0.01) as scope:
        await journal.first(lambda seen: seen.is_status("connected"), since=mark)
    assert scope.cancelled_caught


def test_stage_is_plain_off_a_terminal() -> None:
    out = io.StringIO()
    stage = Stage(out, is_tty=False)
    stage.heading("Pair")
    stage.table([Result("Pair", "ok", 1.234, "from the scan"), Result("Drop", "not played")])
    assert "\x1b" not in out.getvalue()
    assert "1.23 s" in out.getvalue()


def test_stage_colours_on_a_terminal() -> None:
    out = io.StringIO()
    Stage(out, is_tty=True).table([Result("Pair", "failed")])
    assert "\x1b[31mfailed" in out.getvalue()


async def test_stage_gives_a_sign_of_life(autojump_clock: trio.testing.MockClock) -> None:
    out = io.StringIO()
    stage = Stage(out, is_tty=False)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stage.tick)
        with stage.waiting("waiting for connected"):
            await trio.sleep(25)
        await trio.sleep(60)
        nursery.cancel_scope.cancel()
    assert out.getvalue() == "  … waiting for connected, 10 s\n  … waiting for connected, 20 s\n"


def tour(folder: Path) -> Tour:
    return Tour(Gateway(folder), Stage(io.StringIO(), is_tty=False), started_at=0.0)


async def test_play_stops_at_the_scene_that_fails(tmp_path: Path) -> None:
    async def holds(_: Tour) -> Outcome:
        return 1.5, "well"

    async def fails(_: Tour) -> Outcome:
        raise SceneFailed("no transition")

    scenes = [Scene("one", "", holds, "1"), Scene("two", "", fails, "2"), Scene("three", "", holds, "3")]
    results = await play(tour(tmp_path), scenes)
    assert [(result.verdict, result.seconds) for result in results] == [
        ("ok", 1.5),
        ("failed", None),
        ("not played", None),
    ]


@pytest.mark.parametrize(
    ("got", "why"),
    [(["a", "c"], "misses 1"), (["a", "b", "a", "c"], "twice"), (["b", "a", "c"], "another order")],
)
async def test_conversation_fails_when_messages_are_not_each_there_once_in_order(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, got: list[str], why: str
) -> None:
    async def look() -> list[str]:
        return got

    with pytest.raises(SceneFailed, match=why):
        await arrive(tour(tmp_path), "Grace", ["a", "b", "c"], look)


async def test_conversation_waits_for_the_last_message(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    seen: list[str] = []

    async def look() -> list[str]:
        seen.append("abc"[len(seen)])
        return ["something else", *seen]

    await arrive(tour(tmp_path), "Grace", ["a", "b", "c"], look)
    assert len(seen) == 3


async def test_tour_shows_transitions_and_nothing_else(tmp_path: Path) -> None:
    shown = tour(tmp_path)
    status = event(1, status="reconnecting", previous_status="connected", reason="network", detail="connection_lost")
    shown._show(Seen(status, 2.0))
    shown._show(Seen(event(2, "qr.updated", code="2@secret"), 3.0))
    text = shown.stage.out.getvalue()  # type: ignore[attr-defined]  # a StringIO here
    assert "connected -> reconnecting   (network · connection_lost)" in text
    assert "secret" not in text


async def test_gateway_waits_for_the_key_in_a_private_file(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    gateway = Gateway(tmp_path)
    (tmp_path / "demo.db.keys").write_text(f"live  zpk_live_{'x' * 43}\ntest  {KEY}\n")
    (tmp_path / "demo.db.keys").chmod(0o644)
    with pytest.raises(GatewayFailed):
        await gateway.test_key()
    (tmp_path / "demo.db.keys").chmod(0o600)
    assert await gateway.test_key() == KEY


def test_scenes_cover_what_the_tour_promises() -> None:
    slugs = [scene.slug for scene in SCENES]
    assert slugs == [
        "create",
        "qr",
        "conversation",
        "webhooks",
        "drop",
        "half-open",
        "stream-503",
        "stream-515",
        "sandbox",
        "gateway",
        "unlink",
        "code",
    ]
