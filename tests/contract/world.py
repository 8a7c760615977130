"""A gateway with its sandbox, each a process of its own on loopback, and in it something of everything there is.

Rule: what the run may destroy is there several times over, and the key that it asks with is never among it.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import trio

from api.demo.client import Client
from api.demo.gateway import HOST, Gateway
from api.routes.openapi.operations import PATH

SPARE: Final = 6
SETTINGS: Final[Mapping[str, str]] = {
    "WHATISUP_LOG_LEVEL": "warning",
    "WHATISUP_LOG_FORMAT": "json",
    "WHATISUP_PACE_TEST": "10000",
    "RATE_LIMIT_PER_S": "0",
    "RATE_LIMIT_PER_S_TEST": "0",
    "WEBHOOK_ALLOW_HTTP": "true",
    "WEBHOOK_ALLOW_PRIVATE_CIDRS": "127.0.0.0/8",
}


@dataclass(frozen=True)
class World:
    """A running gateway, a test key of it, and the names of what is there: parameter to values."""

    url: str
    key: str
    log: Path
    names: Mapping[str, Sequence[str]]
    spare: Mapping[str, Sequence[str]]


@asynccontextmanager
async def open_world(folder: Path, **settings: str) -> AsyncIterator[World]:
    """Start the gateway and fill it; it is ended with the block."""
    gateway = Gateway(folder, settings={**SETTINGS, **settings})
    try:
        await gateway.start()
        await gateway.wait_ready()
        key = await gateway.test_key()
        names, spare = await _fill(Client(HOST, gateway.port, key))
        yield World(f"http://{HOST}:{gateway.port}", key, gateway.log, names, spare)
    finally:
        await gateway.stop()


async def _fill(api: Client) -> tuple[dict[str, Sequence[str]], dict[str, Sequence[str]]]:
    """Make an instance that is connected and has a conversation behind it, and some of everything to spare."""
    instance_id, number = await _pair(api)
    friend = str((await api.call("POST", "/v1/sandbox/contacts", {"persona": "echo"}))["number"])
    said = {"to": friend, "body": {"type": "text", "text": "hello"}}
    await api.call("POST", f"/v1/instances/{instance_id}/messages", said)
    messages = await _until_echoed(api, instance_id)
    spare = [str((await api.call("POST", "/v1/instances", {"name": "spare"}))["id"]) for _ in range(SPARE)]
    faults = [
        str((await api.call("POST", "/v1/sandbox/faults", {"name": "slow", "number": friend, "times": 1}))["id"])
        for _ in range(SPARE)
    ]
    names = {
        "instance_id": [instance_id],
        "number": [friend, number],
        "message_id": [row["message_id"] for row in messages],
        "jid": [friend, f"{friend}@s.whatsapp.net"],
        "phone": [friend, "999999999999"],
        "fault_id": faults,
    }
    return names, {"instance_id": spare}


async def _pair(api: Client) -> tuple[str, str]:
    instance_id = str((await api.call("POST", "/v1/instances", {"name": "connected"}))["id"])
    number = str((await api.call("POST", "/v1/sandbox/phones", {}))["number"])
    await api.call("POST", f"/v1/sandbox/phones/{number}/scan", {"instance_id": instance_id})
    with trio.fail_after(30):
        while (await api.call("GET", f"/v1/instances/{instance_id}"))["status"] != "connected":
            await trio.sleep(0.05)
    return instance_id, number


async def _until_echoed(api: Client, instance_id: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    with trio.fail_after(30):
        while len(rows) < 2:
            rows = (await api.call("GET", f"/v1/instances/{instance_id}/messages"))["data"]
            await trio.sleep(0.05)
    return rows


DESTRUCTIVE: Final = ("delete_instance", "log_out_instance", "stop_instance", "create_sandbox_fault")


def environment(world: World) -> dict[str, str]:
    """What the hooks need to know: what the document's samples are called here."""
    samples = {name: example for name, (_, _, example) in PATH.items()}
    names = {samples[name]: values[0] for name, values in world.names.items()}
    spare = {
        operation: {samples["instance_id"]: world.spare["instance_id"][number]}
        for number, operation in enumerate(DESTRUCTIVE)
    }
    return {"CONTRACT_NAMES": json.dumps(names), "CONTRACT_SPARE": json.dumps(spare)}


def configuration(world: World, *, max_examples: int, seed: int) -> str:
    """The schemathesis.toml of a run in this world."""
    lines = [
        f'base-url = "{world.url}"',
        f"seed = {seed}",
        "workers = 1",
        "request-timeout = 15.0",
        "continue-on-failure = true",
        f"headers = {{ Authorization = {json.dumps('Bearer ' + world.key)} }}",
        f'generation = {{ max-examples = {max_examples}, database = "none" }}',
        "[parameters]",
        *(f'"path.{name}" = {{ dictionary = "{name}", probability = 0.8 }}' for name in world.names),
        '"body.instance_id" = { dictionary = "instance_id", probability = 0.8 }',
        '"body.to" = { dictionary = "number", probability = 0.8 }',
    ]
    for operation in DESTRUCTIVE:
        lines += [
            "[[operations]]",
            f'include-operation-id = "{operation}"',
            'parameters = { "path.instance_id" = { dictionary = "spare_instance_id", probability = 0.8 } }',
        ]
    for prefix, table in (("", world.names), ("spare_", world.spare)):
        for name, values in table.items():
            lines += [f"[dictionaries.{prefix}{name}]", f"values = {json.dumps(list(values))}"]
    return "\n".join(lines) + "\n"
