"""Which WhatsApp each mode talks to: live instances the configured server, test instances the sandbox.

Rule: the sandbox's root key is trusted for test instances alone.
"""

from __future__ import annotations

import os
import secrets
import ssl
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import structlog

from actors.instance import Endpoint
from actors.sandbox import SandboxChild, SandboxClient
from api.serving.edge import Sandbox
from whatisup.errors import CommandRefused, SettingsError, StoreError
from whatisup.settings import Settings
from whatisup.store import Database, Mode, phones
from whatisup.store.location import SqliteFile, locate

log = structlog.get_logger(__name__)


class ExternalSandbox:
    """A sandbox that somebody else runs (`WHATISUP_SANDBOX_URL`); whether it is up shows only when it is used."""

    kind = "external"
    is_up = True
    pid: int | None = None

    def __init__(self, url: str, root_public: bytes, token: str, tls: ssl.SSLContext | None) -> None:
        parts = urlsplit(url)
        control_url = urlunsplit(("https" if parts.scheme == "wss" else "http", parts.netloc, "", "", ""))
        self.endpoint = Endpoint(url, root_public, tls if parts.scheme == "wss" else None)
        self.client = SandboxClient(control_url, token, tls=tls)


class ChildSandbox:
    """The sandbox that `serve` runs as its child; there is no endpoint before it has first been up."""

    kind = "child"

    def __init__(self, child: SandboxChild, token: str) -> None:
        self.child = child
        self._token = token
        self._client: SandboxClient | None = None

    @property
    def is_up(self) -> bool:
        """Whether the child runs and listens."""
        return self.child.is_up

    @property
    def pid(self) -> int | None:
        """The child's process id while it runs."""
        return self.child.pid

    @property
    def client(self) -> SandboxClient:
        """The client of its control API; its address stays the same when it is started again."""
        if self._client is None:
            self._client = SandboxClient(self.child.announced.control_url, self._token)
        return self._client

    @property
    def endpoint(self) -> Endpoint | None:
        """Where test instances connect."""
        if not self.child.ready.is_set():
            return None
        return Endpoint(self.child.url, self.child.root_public, None)


def make_sandbox(settings: Settings, *, is_wanted: bool) -> ExternalSandbox | ChildSandbox | None:
    """Make the sandbox that the settings ask for: one elsewhere, a child, or none.

    Raises:
        SettingsError: the certificate file cannot be read.
    """
    if settings.sandbox_url is not None and settings.sandbox_root_key is not None:
        tls = _trusting(settings.sandbox_ca_file)
        return ExternalSandbox(settings.sandbox_url, settings.sandbox_root_key, settings.sandbox_token or "", tls)
    if not is_wanted:
        return None
    token = settings.sandbox_token or secrets.token_urlsafe(32)
    # It looks for modules where we do, and not in the current folder first, which may be somebody else's.
    surroundings = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    return ChildSandbox(SandboxChild(_command(state_file(settings)), token, environment=surroundings), token)


async def adopt_phones(sandbox: ExternalSandbox | ChildSandbox, database: Database) -> None:
    """Tell the sandbox whose its phones are where it does not know, since tenants see only their own.

    Older releases did not say. What cannot be told now is told at the next start.
    """
    try:
        nobodys = [account.number for account in await sandbox.client.accounts() if account.tenant is None]
        owners = await database.read(phones.owners) if nobodys else {}
        for number in nobodys:
            if number in owners:
                await sandbox.client.adopt(number, owners[number])
    except (CommandRefused, StoreError) as error:
        log.warning("sandbox.phones_not_adopted", cause=type(error).__name__)


def _trusting(ca_file: str | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        raise SettingsError("WHATISUP_SANDBOX_CA_FILE", f"cannot be read as PEM: {error.strerror or error}") from None


def state_file(settings: Settings) -> Path:
    """Where the child keeps authority, accounts and devices: beside the SQLite database, unless told otherwise."""
    if settings.sandbox_state is not None:
        return Path(settings.sandbox_state)
    location = locate(settings.database_url)
    return location.beside(".sandbox") if isinstance(location, SqliteFile) else Path("var/sandbox.state")


def _command(state: Path) -> Callable[[int], Sequence[str]]:
    def command(port: int) -> Sequence[str]:
        options = ("--child", "--json", "--port", str(port), "--state", str(state))
        return (sys.executable, "-P", "-m", "whatisup.sandbox", *options)

    return command


def endpoints(settings: Settings, sandbox: ExternalSandbox | ChildSandbox | None) -> Callable[[Mode], Endpoint | None]:
    """Make the function that knows the server of each mode; one TLS context serves all live connections."""
    tls = ssl.create_default_context() if urlsplit(settings.wa_url).scheme == "wss" else None
    live = Endpoint(settings.wa_url, settings.wa_root_key, tls)

    def endpoint(mode: Mode) -> Endpoint | None:
        if mode is Mode.LIVE:
            return live
        return None if sandbox is None else sandbox.endpoint

    return endpoint


def _is_a_sandbox(sandbox: ExternalSandbox | ChildSandbox) -> Sandbox:
    """Hold both kinds to what the edge expects (for the type checker)."""
    return sandbox
