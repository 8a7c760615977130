"""Streams over real sockets: who may open them and for how long, readers that do not read, and many at once."""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import structlog
import trio
from h2.connection import H2Connection
from h2.events import ResponseReceived, StreamReset

from api.streams import Fanout
from tests.conftest import TEST_SECRETS
from tests.integration.api.front import ORIGIN, Front, Holder, open_front
from tests.integration.api.test_http import STATUS, Served, Stream, connect, serving, stream
from whatisup.store import Store, Tx, keys, stream_keys
from whatisup.store.log_retention import DAY_MS, expire_events

PAGE = {"Accept": "application/json"}
SLACK_S = 0.6
"""What a loaded machine may add to a bound."""


@asynccontextmanager
async def opened(folder: Path, **how: Any) -> AsyncIterator[tuple[Served, Holder, str]]:
    """A served front, somebody with a key, and an instance of theirs."""
    async with open_front(folder, **how) as front, serving(front) as served:
        alice = await front.holder()
        yield served, alice, await alice.create()


async def open_by_token(served: Served, token: str, query: str = "") -> Stream:
    """A stream without an Authorization header."""
    return await Stream(await connect(served)).open(None, f"?token={token}{query}")


async def token_of(holder: Holder) -> str:
    answer = await holder.call("POST", "/v1/events/token")
    assert set(answer) == {"token", "expires_at"}
    return str(answer["token"])


def revoke(tx: Tx, key_id: str, customer_id: str) -> None:
    keys.revoke(tx, key_id, customer_id=customer_id, origin=ORIGIN, now=tx.now)


async def ends_within(live: Stream, seconds: float) -> list[str]:
    """The frames up to the end of a stream, which must come in time."""
    frames = []
    with trio.fail_after(seconds):
        while frame := await live.frame():
            frames.append(frame)
    return frames


def cut_of(frame: str) -> dict[str, Any]:
    name, data = frame.split("\n")
    assert name == "event: cut"
    return dict(json.loads(data.removeprefix("data: ")))


# --- tokens -----------------------------------------------------------------------------------------------------------


async def test_token_opens_what_its_key_opens(folder: Path) -> None:
    async with opened(folder) as (served, alice, instance_id):
        other = await alice.create("other")
        bound = await served.front.holder("alice", instance_id=instance_id)
        live = await open_by_token(served, await token_of(bound))
        assert (live.status, await live.frame()) == (200, "retry: 2000")
        await served.append(other, 1)
        await served.append(instance_id, 1)
        ((_, event),) = await live.events(1)
        assert event["instance_id"] == instance_id
        await live.close()


async def test_token_opens_nothing_but_the_stream(folder: Path) -> None:
    async with opened(folder) as (served, alice, _):
        token = await token_of(alice)
        holder = Holder(served.front.client, alice.customer_id, token)
        assert await holder.refused("GET", "/v1/instances") == (401, "auth_malformed")
        assert await holder.refused("GET", "/v1/events", **PAGE) == (401, "auth_malformed")
        page = await served.front.client.get(f"/v1/events?token={token}", headers=PAGE)
        assert page.status_code == 200
        elsewhere = await served.front.client.get(f"/v1/instances?token={token}")
        assert elsewhere.status_code == 401
        forged = await served.front.client.get(f"/v1/events?token={token[:-2]}AA", headers=PAGE)
        assert (forged.status_code, (await forged.get_json())["error"]["code"]) == (401, "auth_invalid")


async def test_token_ends_after_an_hour_and_with_its_key(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(folder) as (served, alice, _):
        edge = served.front.edge
        brief = await served.front.holder("alice", expires_at=edge.now() + 60_000)
        tokens = [await token_of(alice), await token_of(brief)]
        now = edge.now()
        for passed, expected in ((59_000, [200, 200]), (61_000, [200, 401]), (stream_keys.TOKEN_MS + 9, [401, 401])):
            monkeypatch.setattr(edge, "now", lambda passed=passed: now + passed)
            answers = [await served.front.client.get(f"/v1/events?token={token}", headers=PAGE) for token in tokens]
            assert [answer.status_code for answer in answers] == expected


async def test_key_in_the_url_works_and_is_warned_about(folder: Path) -> None:
    async with opened(folder) as (served, alice, _):
        client = served.front.client
        with structlog.testing.capture_logs() as lines:
            page = await client.get(f"/v1/events?token={alice.key}", headers=PAGE)
            await client.get(f"/v1/events?token={await token_of(alice)}", headers=PAGE)
        assert page.status_code == 200
        assert page.headers["Deprecation"].startswith("@")
        assert "POST /v1/events/token" in page.headers["Warning"]
        assert [line["event"] for line in lines].count("events.key_in_url") == 1
        assert alice.key not in repr(lines)
        for clean in (
            await alice.ask("GET", "/v1/events", **PAGE),
            await client.get(f"/v1/events?token={await token_of(alice)}", headers=PAGE),
        ):
            assert "Warning" not in clean.headers
            assert "Deprecation" not in clean.headers


# --- what a key may see -----------------------------------------------------------------------------------------------


async def test_key_without_messages_sees_everything_else(folder: Path) -> None:
    async with opened(folder) as (served, alice, instance_id):
        plain = await served.front.holder("alice", scopes=("events",))
        none = await served.front.holder("alice", scopes=("instances:read",))

        def write(tx: Tx) -> None:
            for kind in ("message.sent", STATUS):
                tx.append_event(instance_id, kind, {})

        for query in ("", "?events=*"):
            live = await stream(served, plain, query)
            assert await live.frame() == "retry: 2000"
            await served.front.write(write)
            ((_, event),) = await live.events(1)
            assert event["event"] == STATUS
            await live.close()
            page = await plain.call("GET", f"/v1/events{query}", **PAGE)
            assert {row["event"] for row in page["data"]} == {STATUS}
        assert {row["event"] for row in (await alice.call("GET", "/v1/events", **PAGE))["data"]} > {STATUS}
        for query in ("?events=message.*", "?events=instance.*,message.sent"):
            assert await plain.refused("GET", f"/v1/events{query}") == (403, "insufficient_scope")
        for method, path in (("GET", "/v1/events"), ("POST", "/v1/events/token")):
            assert await none.refused(method, path) == (403, "insufficient_scope")


# --- the end of a key -------------------------------------------------------------------------------------------------


async def test_streams_end_within_a_second_of_a_revocation_elsewhere(folder: Path) -> None:
    """As the command line does it: another process, which rings no bell here."""
    async with opened(folder) as (served, alice, instance_id):
        token = await token_of(alice)
        lives = [await stream(served, alice), await open_by_token(served, token)]
        other = await stream(served, await served.front.holder("bob"))
        for live in (*lives, other):
            await live.frame()
        await served.append(instance_id, 1)
        ((seen, _),) = await lives[0].events(1)
        await lives[1].events(1)

        def revoke_elsewhere() -> None:
            with Store.open(served.front.edge.settings.database_url, TEST_SECRETS) as store:
                (key,) = store.read(keys.list_by_customer, alice.customer_id)
                store.call(revoke, key.id, alice.customer_id)

        await trio.to_thread.run_sync(revoke_elsewhere)
        for live in lives:
            (last,) = await ends_within(live, 1 + SLACK_S)
            assert cut_of(last) == {"reason": "key_ended", "last_event_id": seen}
            await live.close()
        assert not other.is_over
        await served.front.write(lambda tx: None)
        await other.close()


async def test_streams_end_at_once_when_their_key_is_revoked_here(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.streams.watch.LOOK_EVERY_S", 60.0)
    async with opened(folder) as (served, alice, _):
        made = await alice.call("POST", "/v1/api-keys", {"name": "doomed"}, 201)
        doomed = Holder(served.front.client, alice.customer_id, made["secret"])
        live, stays = await stream(served, doomed), await stream(served, alice)
        await live.frame()
        await stays.frame()
        await alice.call("DELETE", f"/v1/api-keys/{made['id']}", status=204)
        (last,) = await ends_within(live, 1)
        assert cut_of(last)["reason"] == "key_ended"
        assert await doomed.refused("GET", "/v1/events") == (401, "auth_expired")
        assert not stays.is_over
        await live.close()
        await stays.close()


async def test_stream_ends_within_a_second_of_its_keys_end(folder: Path) -> None:
    async with opened(folder) as (served, _, __):
        brief = await served.front.holder("alice", expires_at=served.front.edge.now() + 1000)
        live = await stream(served, brief)
        assert await live.frame() == "retry: 2000"
        (last,) = await ends_within(live, 2 + SLACK_S)
        assert cut_of(last)["reason"] == "key_ended"
        await live.close()


# --- readers that do not read -----------------------------------------------------------------------------------------


async def test_slow_reader_is_cut_with_a_last_frame_and_resumes_without_loss(folder: Path) -> None:
    async with opened(folder) as (served, alice, instance_id):
        streams = served.front.edge.streams
        streams._stall_s = 0.5
        slow = await Stream(await connect(served, buffer=4096)).open(alice)
        assert await slow.frame() == "retry: 2000"
        await served.append(instance_id, 120, size=10_000)
        with trio.fail_after(10):  # longer than a send may take, shorter than one is waited for
            while not any(one.send_age_s > 0.5 for one in streams._streams):
                await trio.sleep(0.01)
        seen = []
        while (frame := await slow.frame()).startswith("id: "):
            seen.append(frame.split("\n")[0].removeprefix("id: "))
        assert cut_of(frame) == {"reason": "slow_reader", "last_event_id": seen[-1]}
        assert await slow.frame() == "retry: 2000"
        assert await slow.frame() == ""
        await slow.close()
        again = await stream(served, alice, **{"Last-Event-ID": seen[-1]})
        rest = [event["data"]["n"] for _, event in await again.events(120 - len(seen))]
        assert rest == list(range(len(seen), 120))
        await again.close()


async def test_reader_that_takes_nothing_is_dropped_and_forgotten(folder: Path) -> None:
    async with opened(folder) as (served, alice, instance_id):
        streams = served.front.edge.streams
        streams._stall_s = streams._watch._stall_s = 0.3
        dead, quick = await Stream(await connect(served, buffer=4096)).open(alice), await stream(served, alice)
        await served.append(instance_id, 120, size=10_000)
        assert len(await quick.events(120)) == 120
        with trio.fail_after(5):
            while len(streams) > 1:
                await trio.sleep(0.02)
        with pytest.raises(trio.BrokenResourceError):
            await _read_out(dead.connection)
        await served.append(instance_id, 1)
        assert len(await quick.events(1)) == 1
        await quick.close()
        await dead.close()


async def _read_out(connection: trio.SocketStream) -> None:
    with trio.fail_after(5):
        while await connection.receive_some(65536):
            pass


async def test_revoked_reader_that_takes_nothing_is_dropped_within_a_second(folder: Path) -> None:
    async with opened(folder) as (served, alice, instance_id):
        made = await alice.call("POST", "/v1/api-keys", {"name": "doomed"}, 201)
        doomed = Holder(served.front.client, alice.customer_id, made["secret"])
        dead = await Stream(await connect(served, buffer=4096)).open(doomed)
        await served.append(instance_id, 120, size=10_000)
        with trio.fail_after(5):
            while not any(one.is_stuck for one in served.front.edge.streams._streams):
                await trio.sleep(0.02)
        await alice.call("DELETE", f"/v1/api-keys/{made['id']}", status=204)
        with trio.fail_after(1 + SLACK_S):
            while len(served.front.edge.streams):
                await trio.sleep(0.02)
        await dead.close()


async def test_way_to_the_socket_holds_with_this_hypercorn(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[Any] = []
    follow = Fanout.follow

    def watched(self: Fanout, one: Any) -> Any:
        found.append(one.line)
        return follow(self, one)

    monkeypatch.setattr(Fanout, "follow", watched)
    async with opened(folder) as (served, alice, _):
        live = await stream(served, alice)
        await live.frame()
        (line,) = found
        assert line.socket.getpeername() == live.connection.socket.getsockname()
        assert line.socket.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) <= 512 * 1024
        assert line.drop()
        assert not line.drop()
        await live.close()


# --- what is no longer there ------------------------------------------------------------------------------------------


async def test_cursor_from_below_what_is_kept_is_410(folder: Path) -> None:
    async with opened(folder) as (served, alice, instance_id):
        await served.append(instance_id, 3)
        old = [row["event_id"] for row in (await alice.call("GET", "/v1/events", **PAGE))["data"]]
        await trio.sleep(0.01)
        expire = partial(expire_events, now=served.front.edge.now() + DAY_MS, days=1)
        assert await served.front.write(expire) == 3
        await served.append(instance_id, 2)
        for cursor in ("0", "1", old[0], old[2]):
            for headers in (PAGE, {}):
                refused = await alice.refused("GET", f"/v1/events?after={cursor}", **headers)
                assert refused == (410, "cursor_expired"), cursor
        assert await alice.refused("GET", "/v1/events", Last_Event_ID=old[1]) == (410, "cursor_expired")
        assert await alice.refused("GET", "/v1/events?after=evt_none", **PAGE) == (400, "bad_cursor")
        page = await alice.call("GET", "/v1/events", **PAGE)
        assert [row["data"]["n"] for row in page["data"]] == [0, 1]
        live = await stream(served, alice, "?after=3")
        assert [event["data"]["n"] for _, event in await live.events(2)] == [0, 1]
        await live.close()


async def test_stream_that_the_floor_passes_is_cut(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(folder) as (served, alice, instance_id):
        await served.append(instance_id, 3)
        resolve = served.front.edge.system.database.look

        async def look(fn: Any, *args: Any) -> Any:
            found = await resolve(fn, *args)
            if getattr(fn, "__name__", "") == "resolve":  # between the cursor and the first page
                await served.front.write(partial(expire_events, now=served.front.edge.now() + 2 * DAY_MS, days=1))
            return found

        monkeypatch.setattr(served.front.edge.system.database, "look", look)
        live = await stream(served, alice, "?after=1")
        assert await live.frame() == "retry: 2000"
        assert cut_of(await live.frame())["reason"] == "cursor_expired"
        assert await live.frame() == ""
        await live.close()


async def test_reader_that_fails_ends_its_streams_and_no_others(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(front) as served:
        alice, bob = await front.holder("alice"), await front.holder("bob")
        one, other = await alice.create(), await bob.create()
        lives = [await stream(served, alice), await stream(served, bob)]
        for live in lives:
            await live.frame()
        read_once = Fanout._read_once

        async def fail(self: Fanout, group: Any) -> bool:
            if group.wanted.customer_id == alice.customer_id:
                raise ZeroDivisionError
            return await read_once(self, group)

        monkeypatch.setattr(Fanout, "_read_once", fail)
        with structlog.testing.capture_logs() as lines:
            await served.append(one, 1)
            assert cut_of(await lives[0].frame())["reason"] == "internal_error"
        assert "streams.reader_failed" in [line["event"] for line in lines]
        await served.append(other, 1)
        assert len(await lives[1].events(1)) == 1
        monkeypatch.undo()
        again = await stream(served, alice)
        await again.frame()
        await served.append(one, 1)
        assert len(await again.events(1)) == 1
        for live in (*lives, again):
            await live.close()


async def test_groups_and_tails_end_with_their_last_stream(folder: Path) -> None:
    async with opened(folder) as (served, alice, instance_id):
        streams = served.front.edge.streams
        lives = [await stream(served, alice) for _ in range(2)]
        await served.append(instance_id, 5)
        for live in lives:
            await live.events(5)
        assert streams.tail_bytes > 0
        await lives[0].close()
        with trio.fail_after(5):
            while len(streams) > 1:
                await trio.sleep(0.01)
        assert streams.tail_bytes > 0
        await lives[1].close()
        with trio.fail_after(5):
            while len(streams):
                await trio.sleep(0.01)
        assert (streams.tail_bytes, streams._groups, len(streams.turns)) == (0, {}, 0)


async def test_http2_reader_that_takes_nothing_loses_its_stream_and_not_its_connection(folder: Path) -> None:
    async with opened(folder) as (served, alice, instance_id):
        streams = served.front.edge.streams
        streams._stall_s = streams._watch._stall_s = 0.3
        connection, http = await connect(served), H2Connection()
        http.initiate_connection()
        is_reset = False
        head = [(":method", "GET"), (":scheme", "http"), (":authority", "x"), ("authorization", f"Bearer {alice.key}")]
        http.send_headers(1, [(":path", "/v1/events"), *head], end_stream=True)
        await connection.send_all(http.data_to_send())
        with trio.fail_after(5):
            while not len(streams):
                await trio.sleep(0.01)
            await served.append(instance_id, 120, size=10_000)
            held = 0
            while len(streams):  # the window is never opened again
                held = max([held, *(one.line.backlog for one in streams._streams)])
                await trio.sleep(0.02)
            http.send_headers(3, [(":path", "/healthz"), *head], end_stream=True)
            await connection.send_all(http.data_to_send())
            answered: dict[int, str] = {}
            while 3 not in answered or not is_reset:
                for event in http.receive_data(bytes(await connection.receive_some(65536))):
                    if isinstance(event, ResponseReceived):
                        answered[event.stream_id] = dict(event.headers)[b":status"].decode()
                    is_reset |= isinstance(event, StreamReset) and event.stream_id == 1
                await connection.send_all(http.data_to_send())
        assert answered == {1: "200", 3: "200"}
        assert 0 < held < 256 * 1024
        await connection.aclose()
