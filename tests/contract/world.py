"""A gateway with its sandbox, each a process of its own on loopback, and in it something of everything there is.

Rule: what the run may destroy is there several times over, and the key that it asks with is never among it.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import trio

from api.demo.client import Client
from api.demo.gateway import HOST, Gateway
from api.routes.openapi.operations import PATH

SPARE: Final = 8
NOBODY: Final = "999999999999"
ADMIN_KEY: Final = "admin-key-of-the-contract-run-0123456789"
# What the samples name, and the run replaces by a receiver of its own.
SAMPLE_URL: Final = "https://example.com/whatsapp"
SETTINGS: Final[Mapping[str, str]] = {
    "WHATISUP_LOG_LEVEL": "warning",
    "WHATISUP_LOG_FORMAT": "json",
    "WHATISUP_PACE_TEST": "10000",
    "RATE_LIMIT_PER_S": "0",
    "RATE_LIMIT_PER_S_TEST": "0",
    "WHATISUP_ADMIN_KEY": ADMIN_KEY,
    "WEBHOOK_ALLOW_HTTP": "true",
    "WEBHOOK_ALLOW_PRIVATE_CIDRS": "127.0.0.0/8",
}


@dataclass(frozen=True)
class World:
    """A running gateway, a test key of it, and the names of what is there: parameter to values."""

    url: str
    receiver: str
    key: str
    log: Path
    names: Mapping[str, Sequence[str]]
    spare: Mapping[str, Sequence[str]]
    protected: Mapping[str, str]
    dedicated: Mapping[str, Mapping[str, str]]
    restart: Callable[[], Awaitable[None]]


@asynccontextmanager
async def open_world(folder: Path, **settings: str) -> AsyncIterator[World]:
    """Start the gateway and fill it; it is ended with the block."""
    gateway = Gateway(folder, settings={**SETTINGS, **settings})
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, _receive, 0, host=HOST))
        receiver = f"http://{HOST}:{listeners[0].socket.getsockname()[1]}/hook"
        try:
            await gateway.start()
            await gateway.wait_ready()
            key = await gateway.test_key()
            api, admin = Client(HOST, gateway.port, key), Client(HOST, gateway.port, ADMIN_KEY)
            names, spare, protected, dedicated = await _fill(api, admin, receiver)

            async def restart() -> None:
                await gateway.kill()
                await gateway.start()
                await gateway.wait_ready()

            url = f"http://{HOST}:{gateway.port}"
            yield World(url, receiver, key, gateway.log, names, spare, protected, dedicated, restart)
        finally:
            await gateway.stop()
        nursery.cancel_scope.cancel()


async def _receive(stream: trio.SocketStream) -> None:
    """Take a delivery, whatever it is."""
    try:
        with trio.move_on_after(5):
            await stream.receive_some(65536)
            await stream.send_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
    except trio.BrokenResourceError:
        pass


Names = dict[str, list[str]]
Dedicated = dict[str, dict[str, str]]


async def _fill(api: Client, admin: Client, receiver: str) -> tuple[Names, Names, dict[str, str], Dedicated]:
    """Make an instance that is connected and has a conversation behind it, and some of everything to spare."""
    (own_key,) = (await api.call("GET", "/v1/api-keys"))["data"]
    endpoint = {"url": receiver, "events": ["message.*"]}
    wanted = await _ids(api, "/v1/webhook-endpoints", endpoint, count=2)
    spare = {
        "instance_id": await _ids(api, "/v1/instances", {"name": "spare"}),
        "endpoint_id": await _ids(api, "/v1/webhook-endpoints", endpoint | {"enabled": False}),
        "key_id": await _ids(api, "/v1/api-keys", {"name": "spare"}),
        "customer_id": await _ids(admin, "/admin/v1/customers", {"name": "spare"}),
    }
    dedicated = await _dedicated(api, admin, spare)
    # Last of all, so that it is the first of those that are connected: instances are listed newest first.
    instance_id, number = await _pair(api)
    friend = str((await api.call("POST", "/v1/sandbox/contacts", {"persona": "echo"}))["number"])
    said = {"to": friend, "body": {"type": "text", "text": "hello"}}
    await api.call("POST", f"/v1/instances/{instance_id}/messages", said)
    messages = await _until_echoed(api, instance_id)
    deliveries = (await api.call("GET", "/v1/webhook-deliveries"))["data"]
    names = {
        "instance_id": [instance_id],
        "number": [friend, number],
        "message_id": [row["message_id"] for row in messages],
        "jid": [friend, f"{friend}@s.whatsapp.net"],
        "phone": [friend, NOBODY],
        "fault_id": await _ids(api, "/v1/sandbox/faults", {"name": "slow", "number": friend, "times": 1}),
        "endpoint_id": wanted,
        "delivery_id": [row["id"] for row in deliveries],
        "key_id": [own_key["id"]],
        "customer_id": [own_key["customer_id"]],
    }
    protected = {names[name][0]: values[-1] for name, values in spare.items()} | {number: NOBODY}
    return names, spare, protected, dedicated


async def _dedicated(api: Client, admin: Client, spare: Names) -> Dedicated:
    """What single operations need to find in the right state, so that each succeeds at least once."""
    stopped, _ = await _pair(api)
    await api.call("POST", f"/v1/instances/{stopped}/stop", {})
    unlinked, its_number = await _pair(api)
    logged_out, _ = await _pair(api)
    fresh = str((await api.call("POST", "/v1/instances", {"name": "fresh"}))["id"])
    phone = str((await api.call("POST", "/v1/sandbox/phones", {}))["number"])
    customer_id = spare["customer_id"][0]
    (key_id,) = await _ids(admin, f"/admin/v1/customers/{customer_id}/api-keys", {"name": "spare"}, count=1)
    return {
        "start_instance": {"instance_id": stopped},
        "unlink_on_sandbox_phone": {"instance_id": unlinked, "number": its_number},
        "log_out_instance": {"instance_id": logged_out},
        "scan_with_sandbox_phone": {"instance_id": fresh, "number": phone},
        "revoke_customer_api_key": {"customer_id": customer_id, "key_id": key_id},
        "revoke_api_key": {"key_id": spare["key_id"][1]},
        "get_qr": {"instance_id": spare["instance_id"][-2]},
        "request_pair_code": {"instance_id": spare["instance_id"][-3], "phone_number": phone},
    }


async def _ids(api: Client, path: str, body: dict[str, Any], count: int = SPARE) -> list[str]:
    return [str((await api.call("POST", path, body))["id"]) for _ in range(count)]


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


DESTRUCTIVE: Final = (
    "delete_instance",
    "log_out_instance",
    "stop_instance",
    "create_sandbox_fault",
    "unlink_on_sandbox_phone",
    "delete_webhook_endpoint",
    "revoke_api_key",
    "revoke_customer_api_key",
    "update_customer",
)


def environment(world: World) -> dict[str, str]:
    """What the hooks need to know: what the document's samples are called here."""
    samples = {name: example for name, (_, _, example) in PATH.items()}
    names = {samples[name]: values[0] for name, values in world.names.items()}
    spare = {
        operation: {name: values[at % SPARE] for name, values in world.spare.items()}
        for at, operation in enumerate(DESTRUCTIVE)
    }
    for operation, named in world.dedicated.items():
        spare[operation] = spare.get(operation, {}) | named
    samples["phone_number"] = "5511999999999"
    spare = {operation: {samples[name]: value for name, value in named.items()} for operation, named in spare.items()}
    return {
        "CONTRACT_NAMES": json.dumps(names),
        "CONTRACT_SPARE": json.dumps(spare),
        "CONTRACT_PROTECTED": json.dumps(world.protected),
        "CONTRACT_RECEIVER": world.receiver,
    }


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
    ]
    for operation in DESTRUCTIVE:
        lines += [
            "[[operations]]",
            f'include-operation-id = "{operation}"',
            "[operations.parameters]",
            *(f'"path.{name}" = {{ dictionary = "spare_{name}", probability = 0.8 }}' for name in world.spare),
        ]
    lines += [
        "[[operations]]",
        'include-path-regex = "^/admin/"',
        f"headers = {{ Authorization = {json.dumps('Bearer ' + ADMIN_KEY)} }}",
    ]
    for operation, place in (("send_message", "body.to"), ("scan_with_sandbox_phone", "body.instance_id")):
        name = "number" if place == "body.to" else "spare_instance_id"
        lines += [
            "[[operations]]",
            f'include-operation-id = "{operation}"',
            f'parameters = {{ "{place}" = {{ dictionary = "{name}", probability = 0.8 }} }}',
        ]
    for prefix, table in (("", world.names), ("spare_", world.spare)):
        for name, values in table.items():
            lines += [f"[dictionaries.{prefix}{name}]", f"values = {json.dumps(list(values))}"]
    return "\n".join(lines) + "\n"
