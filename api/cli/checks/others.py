"""Other processes: the gateway that may be running already, and the sandbox."""

from __future__ import annotations

import http.client
import os
import socket
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import trio
from msgspec import DecodeError, json

from actors.sandbox import SandboxRefused
from api.bootstrap.sandboxes import ExternalSandbox, make_sandbox, state_file
from api.cli.checks.finding import Finding, note, ok, wrong
from whatisup.errors import CommandRefused, SettingsError, StoreError
from whatisup.settings import Settings
from whatisup.store import database_lock
from whatisup.store.location import SqliteFile, locate

ANSWER_S: Final = 3.0
_EVERYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 # asked for, not listened on


def server(settings: Settings) -> Iterator[Finding]:
    """Whether a gateway owns the database, and how it is; if none does, whether one could listen."""
    location = locate(settings.database_url)
    if isinstance(location, SqliteFile) and not location.beside(".lock").exists():
        yield from _nobody(settings)
        return
    lock = database_lock(settings.database_url)
    try:
        if lock.try_acquire():
            lock.release()
            yield from _nobody(settings)
        else:
            yield _somebody(settings, lock.holder() or "another process")
    except StoreError:
        return  # the database has been found wanting already


def _nobody(settings: Settings) -> Iterator[Finding]:
    yield ok("server", "none is running on this database")
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        socket.create_server((settings.host, settings.port), family=family).close()
    except OSError as error:
        remedy = "stop who listens there, or choose another WHATISUP_HOST and WHATISUP_PORT"
        text = f"cannot listen on {settings.host}:{settings.port}: {(error.strerror or str(error)).partition(' (')[0]}"
        yield wrong("server", text, remedy)


def _somebody(settings: Settings, holder: str) -> Finding:
    answer = _readiness(_EVERYWHERE.get(settings.host, settings.host), settings.port)
    where = f"{settings.host}:{settings.port}"
    if answer is None:
        remedy = "if WHATISUP_HOST and WHATISUP_PORT are its, look at its log; if they are not, set them as it has them"
        return wrong("server", f"{holder} owns this database and does not answer at {where}", remedy)
    status, checks = answer
    if status == "ready" and "client" in checks:
        remedy = "take a newer release, or set WHATISUP_CLIENT_VERSION to the version WhatsApp Web has now"
        return note("server", f"{holder} runs, and announces a client version that WhatsApp lets in no longer", remedy)
    if status == "ready":
        return ok("server", f"{holder} runs on this database and is ready")
    failed = ", ".join(checks) or "no check"
    remedy = "look at its log; it gets well by itself when the cause is gone"
    return wrong("server", f"{holder} runs on this database and is {status}: {failed} failed", remedy)


def _readiness(host: str, port: int) -> tuple[str, list[str]] | None:
    """What `/readyz` says: the status, and the checks that failed; None without a word of it."""
    connection = http.client.HTTPConnection(host, port, timeout=ANSWER_S)
    try:
        connection.request("GET", "/readyz")
        body: dict[str, Any] = json.decode(connection.getresponse().read(65536))
        return str(body["status"]), [name for name, check in body["checks"].items() if not check["ok"]]
    except (OSError, http.client.HTTPException, DecodeError, KeyError, TypeError, AttributeError):
        return None
    finally:
        connection.close()


def sandbox(settings: Settings) -> Iterator[Finding]:
    """Whether test instances have a WhatsApp."""
    try:
        made = make_sandbox(settings, is_wanted=False)
    except SettingsError as error:
        yield wrong("sandbox", str(error), "name a readable PEM file in WHATISUP_SANDBOX_CA_FILE, or unset it")
        return
    if made is None:
        yield from _child(state_file(settings))
    elif isinstance(made, ExternalSandbox):
        yield _external(made, settings.sandbox_url or "")


def _child(state: Path) -> Iterator[Finding]:
    if state.exists() and not os.access(state, os.R_OK | os.W_OK):
        remedy = "give it to the gateway's user, or name another one in WHATISUP_SANDBOX_STATE"
        yield wrong("sandbox", f"its state file {state} cannot be read and written", remedy)
    elif state.exists() and state.stat().st_mode & 0o077:
        yield note("sandbox", f"other users may read its state, {state}", f"chmod 600 {state}")
    else:
        yield ok("sandbox", f"a child of the gateway, with its state in {state}")


def _external(made: ExternalSandbox, url: str) -> Finding:
    try:
        accounts = trio.run(partial(_count, made))
    except SandboxRefused as refusal:
        remedy = "set WHATISUP_SANDBOX_TOKEN to the token that `whatisup sandbox` printed there"
        return wrong("sandbox", f"{url} refuses us: {refusal}", remedy)
    except (CommandRefused, trio.TooSlowError):
        remedy = "see that `whatisup sandbox` runs there and is reached from here (WHATISUP_SANDBOX_URL)"
        return wrong("sandbox", f"{url} does not answer", remedy)
    return ok("sandbox", f"{url} answers and has {accounts} phones")


async def _count(made: ExternalSandbox) -> int:
    with trio.fail_after(ANSWER_S):
        return len(await made.client.accounts())
