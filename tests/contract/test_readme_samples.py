"""The samples of README's "API samples", run as they stand there against a gateway that runs.

Rule: a sample is the fenced block behind `<!-- test: name -->`; it gets its place and its key through the environment
and nothing of it is replaced. A sample without a test here, and a test without its sample, fail.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
import trio

from api.demo.client import Client
from api.demo.gateway import HOST, free_port
from tests.contract.world import World, open_world

README: Final = Path(__file__).resolve().parents[2] / "README.md"
SAMPLE: Final = re.compile(r"^<!-- test: (?P<name>[a-z-]+) -->\n```(?P<kind>\w+)\n(?P<text>.*?)^```$", re.M | re.S)
SAMPLES: Final[Mapping[str, tuple[str, str]]] = {
    found["name"]: (found["kind"], found["text"]) for found in SAMPLE.finditer(README.read_text(encoding="utf-8"))
}
WAIT_S: Final = 30.0


def test_readme_has_these_samples_and_no_others() -> None:
    assert set(SAMPLES) == {"curl", "send", "receiver", "standard", "stream"}


class Running:
    """A sample as a process, whose lines can be waited for."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.changed = trio.Event()

    async def read(self, process: trio.Process) -> None:
        assert process.stdout is not None
        text = b""
        async for chunk in process.stdout:
            *whole, text = (text + chunk).split(b"\n")
            self.lines += [line.decode() for line in whole]
            self.changed.set()
            self.changed = trio.Event()

    async def has(self, words: str, count: int = 1) -> None:
        """Wait until so many lines hold these words."""
        with trio.move_on_after(WAIT_S):
            while sum(words in line for line in self.lines) < count:
                await self.changed.wait()
            return
        raise AssertionError(f"not {count} times {words!r} in {self.lines}")


def command(name: str) -> list[str]:
    kind, text = SAMPLES[name]
    return {"sh": ["sh", "-euc", text], "python": [sys.executable, "-c", text]}[kind]


def environment(world: World, **more: str) -> dict[str, str]:
    return {**os.environ, "WHATISUP_API": world.url, "WHATISUP_API_KEY": world.key, "PYTHONUNBUFFERED": "1", **more}


async def output(world: World, name: str, **more: str) -> str:
    with trio.fail_after(WAIT_S):
        done = await trio.run_process(command(name), env=environment(world, **more), capture_stdout=True)
    return done.stdout.decode()


@asynccontextmanager
async def running(world: World, name: str, **more: str) -> AsyncIterator[Running]:
    """Run a sample that does not end by itself until the block ends."""
    sample = Running()
    async with trio.open_nursery() as nursery:
        start = partial(
            trio.run_process, command(name), env=environment(world, **more), stdout=subprocess.PIPE, check=False
        )
        process: trio.Process = await nursery.start(start)
        nursery.start_soon(sample.read, process)
        yield sample
        process.kill()
        nursery.cancel_scope.cancel()


def client(world: World) -> Client:
    return Client(HOST, int(world.url.rsplit(":", 1)[1]), world.key)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with open_world(tmp_path) as opened:
        yield opened


async def test_readme_samples_that_ask_and_send(world: World) -> None:
    first, second = (json.loads(line) for line in (await output(world, "curl")).replace("}{", "}\n{").splitlines())
    assert len(first["data"]) == len(second["data"]) == 1
    assert second["data"][0]["instance_id"] == world.names["instance_id"][0]
    said = (await output(world, "send", TO=world.names["number"][0])).splitlines()
    assert said[0] == said[1]
    message_id, status = said[0].split()
    assert status == "queued"
    path = f"/v1/instances/{world.names['instance_id'][0]}/messages/{message_id}"
    assert (await client(world).call("GET", path))["client_ref"] == "order-17"


async def test_readme_receiver_takes_what_is_ours_and_nothing_else(world: World) -> None:
    api, port = client(world), free_port()
    endpoint = await api.call("POST", "/v1/webhook-endpoints", {"url": f"http://{HOST}:{port}/", "events": ["*"]})
    async with running(world, "receiver", PORT=str(port), WEBHOOK_SECRET=endpoint["secret"]) as receiver:
        await until_open(port)
        await api.call("POST", f"/v1/webhook-endpoints/{endpoint['id']}/test", {})
        await receiver.has("webhook.test")
        delivery = (await api.call("GET", f"/v1/webhook-deliveries?endpoint_id={endpoint['id']}"))["data"][0]
        assert delivery["event_id"] in receiver.lines[-1]
        for forged in ("", "t=1", "v1=00", "t=1700000000,v1=00", "=,=", "t=x,v1=\u00e9"):
            assert await post(port, forged) == 401, forged
        assert len(receiver.lines) == 1


async def until_open(port: int) -> None:
    with trio.fail_after(WAIT_S):
        while True:
            try:
                await (await trio.open_tcp_stream(HOST, port)).aclose()
            except OSError:
                await trio.sleep(0.05)
            else:
                return


async def post(port: int, signature: str) -> int:
    """POST `{}` under a signature of somebody else's; the status."""
    async with await trio.open_tcp_stream(HOST, port) as stream:
        head = f"POST / HTTP/1.1\r\nHost: x\r\nX-WhatIsUp-Signature: {signature}\r\nContent-Length: 2\r\n\r\n{{}}"
        await stream.send_all(head.encode("latin-1"))
        answer = b""
        with trio.fail_after(WAIT_S):
            while b"\r\n" not in answer:
                answer += await stream.receive_some(65536)
    return int(answer.split()[1])


async def test_readme_standard_sample_verifies_a_delivery_and_no_forgery(world: World) -> None:
    api = client(world)
    taken: list[tuple[dict[str, str], bytes]] = []
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, partial(take, taken), 0, host=HOST))
        port = listeners[0].socket.getsockname()[1]
        endpoint = await api.call("POST", "/v1/webhook-endpoints", {"url": f"http://{HOST}:{port}/", "events": ["*"]})
        await api.call("POST", f"/v1/webhook-endpoints/{endpoint['id']}/test", {})
        with trio.fail_after(WAIT_S):
            while not taken:
                await trio.sleep(0.02)
        nursery.cancel_scope.cancel()
    namespace: dict[str, Any] = {}
    exec(SAMPLES["standard"][1], namespace)
    is_ours, (headers, body) = namespace["is_ours"], taken[0]
    assert is_ours(headers, body, endpoint["secret"])
    assert not is_ours(headers, body + b" ", endpoint["secret"])
    assert not is_ours({**headers, "webhook-id": "evt_1"}, body, endpoint["secret"])
    assert not is_ours({**headers, "webhook-timestamp": "1700000000"}, body, endpoint["secret"])


async def take(taken: list[tuple[dict[str, str], bytes]], stream: trio.SocketStream) -> None:
    """Read one delivery whole, and answer it."""
    text = b""
    while b"\r\n\r\n" not in text:
        text += await stream.receive_some(65536)
    head, _, body = text.partition(b"\r\n\r\n")
    fields = [line.decode("latin-1").split(": ", 1) for line in head.split(b"\r\n")[1:]]
    headers = {name.lower(): value for name, value in fields}
    while len(body) < int(headers["content-length"]):
        body += await stream.receive_some(65536)
    await stream.send_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
    taken.append((headers, body))


async def test_readme_stream_sample_goes_on_after_a_restart_without_gap_or_repetition(world: World) -> None:
    api = client(world)
    path = f"/v1/webhook-endpoints/{world.names['endpoint_id'][0]}/test"
    async with running(world, "stream") as stream:
        with trio.fail_after(WAIT_S):
            while "webhook.test" not in "".join(stream.lines):
                await api.call("POST", path, {})  # until the stream is open: it begins with what happens then
                await trio.sleep(0.2)
        await world.restart()
        for _ in range(3):
            await api.call("POST", path, {})
        log = await events_of(api)
        await stream.has(log[-1])
        seen = [line.split()[0] for line in stream.lines if line.startswith("evt_")]
    assert seen == log[log.index(seen[0]) :][: len(seen)]
    assert seen[-1] >= log[-1]


async def events_of(api: Client) -> list[str]:
    """Every event's id, in the order of the log."""
    ids: list[str] = []
    query = ""
    while True:
        page = await api.call("GET", f"/v1/events?limit=100{query}")
        ids += [row["event_id"] for row in page["data"]]
        if page["next_cursor"] is None:
            return ids
        query = f"&cursor={page['next_cursor']}"
