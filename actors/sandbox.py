"""The sandbox from the gateway's side: the child process that runs it, and the client of its control API.

Rule: whatever is wrong with the sandbox comes out as `SandboxUnavailable` or `SandboxRefused`; the caller is told, and
nothing else of the gateway notices.
"""

from __future__ import annotations

import os
import ssl
import subprocess
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Final, TypeVar
from urllib.parse import quote, urlsplit

import h11
import msgspec
import structlog
import trio

from actors.transport import end
from whatisup import control
from whatisup.errors import CommandRefused

REQUEST_S: Final = 10.0
"""How long the sandbox may take to answer; a link waits for the instance, and may take `LINK_S`."""
LINK_S: Final = 30.0
MAX_REPLY: Final = 16 * 2**20
"""Largest reply read, in bytes: some ten thousand accounts."""

READY_S: Final = 30.0
"""How long a child may take to say that it listens."""
STOP_S: Final = 3.0
"""How long it may take to end when its stdin closes; then it is terminated, and a second later killed."""
BACKOFF_S: Final = (0.2, 1.0, 2.0, 5.0, 15.0, 30.0)
"""Pauses before the next start, one more for each that failed in a row."""
STABLE_S: Final = 30.0
"""A child that lived this long had started well."""

_KILL_S: Final = 1.0
_MAX_ANNOUNCEMENT: Final = 64 * 1024
# What a child needs of our environment: where things are, and how Python behaves. No secret of the gateway's.
_INHERITED: Final = frozenset({"PATH", "HOME", "LANG", "TMPDIR", "TZ", "VIRTUAL_ENV", "SYSTEMROOT"})
_INHERITED_PREFIXES: Final = ("PYTHON", "LC_", "MALLOC_", "COVERAGE_", "COV_")

R = TypeVar("R", bound=msgspec.Struct)

log: Final = structlog.get_logger(__name__)


class SandboxUnavailable(CommandRefused):
    """The sandbox is not running, or did not answer in time or in HTTP."""


class SandboxRefused(CommandRefused):
    """The sandbox cannot do that; `status` is its HTTP status, `code` its slug."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


class SandboxClient:
    """Drives simulated phones and faults over the control API, one connection per request.

    Every method raises `SandboxUnavailable` or `SandboxRefused`. `tls` is for an https `control_url`.
    """

    def __init__(self, control_url: str, token: str, *, tls: ssl.SSLContext | None = None) -> None:
        parts = urlsplit(control_url)
        if parts.scheme not in ("http", "https") or parts.hostname is None:
            raise ValueError("a control URL reads http://host:port or https://host:port")
        self._host = parts.hostname
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._authority = parts.netloc
        self._tls = (tls or ssl.create_default_context()) if parts.scheme == "https" else None
        self._token = token

    async def create_account(
        self,
        number: str | None = None,
        name: str | None = None,
        *,
        tenant: str | None = None,
        persona: control.Persona = control.Persona.SILENT,
    ) -> control.Account:
        """Create an account with its phone; without a number the sandbox takes the next free one."""
        request = control.AccountRequest(number, name, tenant, persona)
        return await self._post("/sandbox/accounts", request, control.Account)

    async def accounts(self) -> list[control.Account]:
        """List all accounts."""
        return (await self._get("/sandbox/accounts", control.Accounts)).data

    async def account(self, number: str) -> control.Account:
        """Return one account with its devices."""
        return await self._get(_account(number), control.Account)

    async def adopt(self, number: str, tenant: str) -> control.Account:
        """Give an account a tenant; refused if it has another one."""
        return await self._post(f"{_account(number)}/tenant", control.TenantRequest(tenant), control.Account)

    async def scan(self, number: str, qr: str) -> control.Linked:
        """Let the phone scan a QR's text; returns when the companion is linked."""
        return await self._post(f"{_account(number)}/scan", control.ScanRequest(qr), control.Linked, LINK_S)

    async def enter_link_code(self, number: str, code: str) -> control.Linked:
        """Type a linking code into the phone; returns when the companion is linked."""
        return await self._post(f"{_account(number)}/link-code", control.LinkCodeRequest(code), control.Linked, LINK_S)

    async def unlink(self, number: str, device: int) -> None:
        """Remove a companion on the phone."""
        await self._call("POST", f"{_account(number)}/unlink", msgspec.json.encode(control.UnlinkRequest(device)))

    async def device(self, number: str, device: int) -> control.DeviceConnection:
        """Return a companion's live connection and its last stanzas."""
        return await self._get(f"{_account(number)}/devices/{device}", control.DeviceConnection)

    async def arm(self, fault: control.FaultRequest) -> control.Fault:
        """Arm a fault; it strikes matching live connections at once."""
        return await self._post("/sandbox/faults", fault, control.Fault)

    async def faults(self) -> list[control.Fault]:
        """List the faults, the last spent ones first."""
        return (await self._get("/sandbox/faults", control.Faults)).data

    async def disarm(self, fault_id: str) -> None:
        """Disarm one fault."""
        await self._call("DELETE", f"/sandbox/faults/{quote(fault_id, safe='')}")

    async def disarm_all(self, number: str | None = None) -> None:
        """Disarm all faults, or those of one account."""
        await self._call("DELETE", "/sandbox/faults" + ("" if number is None else f"?number={quote(number, safe='')}"))

    async def switches(self) -> list[str]:
        """List the switches that are on."""
        return (await self._get("/sandbox/switches", control.Switches)).names

    async def set_switches(self, names: Sequence[str]) -> list[str]:
        """Turn exactly these switches on; return them."""
        request = msgspec.json.encode(control.Switches(list(names)))
        return _decoded(await self._call("PUT", "/sandbox/switches", request), control.Switches).names

    # people

    async def send_message(self, number: str, request: control.MessageRequest) -> control.MessageQueued:
        """Let a phone send something; its log of what it sent says when it has."""
        return await self._post(f"{_account(number)}/messages", request, control.MessageQueued)

    async def post(self, number: str, request: control.PostRequest) -> control.MessageQueued:
        """Let a phone write to many: a group, its status, a broadcast list, a newsletter."""
        return await self._post(f"{_account(number)}/posts", request, control.MessageQueued)

    async def reply(self, number: str, request: control.ReplyRequest) -> control.MessageQueued:
        """Let a phone answer a message with a text that quotes it."""
        return await self._post(f"{_account(number)}/replies", request, control.MessageQueued)

    async def vote(self, number: str, request: control.VoteRequest) -> control.MessageQueued:
        """Let a phone vote in a poll."""
        return await self._post(f"{_account(number)}/votes", request, control.MessageQueued)

    async def read(self, number: str, request: control.ReadRequest) -> None:
        """Let a phone's owner read a chat."""
        await self._call("POST", f"{_account(number)}/read", msgspec.json.encode(request))

    async def typing(self, number: str, request: control.TypingRequest) -> None:
        """Let a phone's owner be seen typing."""
        await self._call("POST", f"{_account(number)}/typing", msgspec.json.encode(request))

    async def set_online(self, number: str, online: bool) -> control.Account:
        """Take a phone off the network, or back on it."""
        return await self._post(f"{_account(number)}/online", control.OnlineRequest(online), control.Account)

    async def set_persona(self, number: str, persona: control.Persona) -> control.Account:
        """Give a phone another persona."""
        return await self._post(f"{_account(number)}/persona", control.PersonaRequest(persona), control.Account)

    async def change_identity(self, number: str) -> None:
        """Give a phone new keys, as when the app is installed anew."""
        await self._call("POST", f"{_account(number)}/identity-change")

    async def burst(self, number: str, request: control.BurstRequest) -> control.Burst:
        """Let a phone send many texts."""
        return await self._post(f"{_account(number)}/bursts", request, control.Burst)

    async def bursts(self, number: str) -> list[control.Burst]:
        """List a phone's last bursts, oldest first."""
        return (await self._get(f"{_account(number)}/bursts", control.Bursts)).data

    async def received(
        self, number: str, *, after: int = 0, limit: int = control.MAX_PAGE
    ) -> list[control.ReceivedMessage]:
        """List what reached a phone behind a position, a row for each ciphertext, in order."""
        path = f"{_account(number)}/received?after={after}&limit={limit}"
        return (await self._get(path, control.ReceivedMessages)).data

    async def sent(self, number: str, *, after: int = 0, limit: int = control.MAX_PAGE) -> list[control.SentMessage]:
        """List what a phone was told to send behind a position, in order, and who has it."""
        path = f"{_account(number)}/sent?after={after}&limit={limit}"
        return (await self._get(path, control.SentMessages)).data

    async def chat_states(self, number: str) -> list[control.ChatState]:
        """List who typed to a phone, or came and went, oldest first."""
        return (await self._get(f"{_account(number)}/chat-states", control.ChatStates)).data

    # HTTP

    async def _get(self, path: str, reply: type[R]) -> R:
        return _decoded(await self._call("GET", path), reply)

    async def _post(self, path: str, request: msgspec.Struct, reply: type[R], timeout_s: float = REQUEST_S) -> R:
        return _decoded(await self._call("POST", path, msgspec.json.encode(request), timeout_s), reply)

    async def _call(self, method: str, path: str, body: bytes = b"", timeout_s: float = REQUEST_S) -> bytes:
        try:
            with trio.fail_after(timeout_s):
                status, reply = await self._exchange(method, path, body)
        except trio.TooSlowError:
            raise SandboxUnavailable(f"the sandbox did not answer within {timeout_s:g} s") from None
        except (OSError, ssl.SSLError, trio.BrokenResourceError, h11.RemoteProtocolError) as error:
            raise SandboxUnavailable(f"the sandbox cannot be reached: {type(error).__name__}") from error
        if 200 <= status < 300:
            return reply
        raise _refusal(status, reply)

    async def _exchange(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        stream: trio.abc.Stream = await trio.open_tcp_stream(self._host, self._port)
        if self._tls is not None:
            stream = trio.SSLStream(stream, self._tls, server_hostname=self._host, https_compatible=True)
        try:
            http = h11.Connection(h11.CLIENT)
            headers = [
                ("host", self._authority),
                ("authorization", f"Bearer {self._token}"),
                ("content-type", "application/json"),
                ("content-length", str(len(body))),
                ("connection", "close"),
            ]
            events = (h11.Request(method=method, target=path, headers=headers), h11.Data(body), h11.EndOfMessage())
            await stream.send_all(b"".join(http.send(event) or b"" for event in events))
            return await _read_reply(stream, http)
        finally:
            await end(stream)


async def _read_reply(stream: trio.abc.Stream, http: h11.Connection) -> tuple[int, bytes]:
    status, body = 0, bytearray()
    while True:
        event = http.next_event()
        if event is h11.NEED_DATA:
            http.receive_data(bytes(await stream.receive_some(64 * 1024)))
        elif isinstance(event, h11.Response):
            status = event.status_code
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > MAX_REPLY:
                raise h11.RemoteProtocolError("the reply is larger than any of ours")
        elif isinstance(event, (h11.EndOfMessage, h11.ConnectionClosed)):
            return status, bytes(body)


def _account(number: str) -> str:
    return f"/sandbox/accounts/{quote(number, safe='')}"


def _decoded(reply: bytes, kind: type[R]) -> R:
    try:
        return msgspec.json.decode(reply, type=kind)
    except msgspec.DecodeError as error:
        raise SandboxUnavailable(f"the sandbox answered with something else: {error}") from None


def _refusal(status: int, reply: bytes) -> CommandRefused:
    try:
        detail = msgspec.json.decode(reply, type=control.Error).error
    except msgspec.DecodeError:
        return SandboxUnavailable(f"the sandbox answered with HTTP {status}")
    return SandboxRefused(status, detail.code, detail.message)


class SandboxChild:
    """Runs a sandbox as a child process, and starts it again in place: same port, same token, same state file.

    `command` returns the argument vector for a port (0 = a free one, the first time unless `port` says otherwise); it
    must make the program announce itself as JSON and end when its stdin closes.
    """

    def __init__(
        self,
        command: Callable[[int], Sequence[str]],
        token: str,
        *,
        port: int = 0,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._command = command
        self._token = token
        self._port = port
        self._environment = _environment(os.environ if environment is None else environment, token)
        self._announced: control.Ready | None = None
        self._starts = 0
        self.ready: Final = trio.Event()
        """Set once the first child listens; from then on `announced` holds."""
        self.pid: int | None = None
        """The child's process id while it runs."""
        self.is_up = False
        """Whether a child runs and has said that it listens."""

    @property
    def announced(self) -> control.Ready:
        """What the child said: URLs, token, root key, certificate. Raises `SandboxUnavailable` before `ready`."""
        if self._announced is None:
            raise SandboxUnavailable("the sandbox has not started yet")
        return self._announced

    @property
    def url(self) -> str:
        """Where its websocket is. Raises `SandboxUnavailable` before `ready`."""
        return self.announced.url

    @property
    def root_public(self) -> bytes:
        """Its Noise root (32 bytes). Raises `SandboxUnavailable` before `ready`."""
        return bytes.fromhex(self.announced.root_public_key)

    @property
    def restarts(self) -> int:
        """How often it was started again."""
        return max(0, self._starts - 1)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep a child running until cancelled; then close its stdin, and insist."""
        task_status.started()
        failures = 0
        while True:
            begun_at = trio.current_time()
            try:
                await self._run_once()
            except (OSError, SandboxUnavailable) as error:
                log.warning("the sandbox did not start", error=str(error))
            if trio.current_time() - begun_at > STABLE_S:
                failures = 0
            await trio.sleep(BACKOFF_S[min(failures, len(BACKOFF_S) - 1)])
            failures += 1

    async def _run_once(self) -> None:
        self._starts += 1
        process = await trio.lowlevel.open_process(
            list(self._command(self._port)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=dict(self._environment),
            # A Ctrl-C at the terminal is for us: the child goes last, when its stdin closes.
            start_new_session=True,
        )
        self.pid = process.pid
        try:
            await self._follow(process)
        finally:
            self.is_up = False
            await _stop(process)
            self.pid = None
        log.warning("the sandbox ended", exit_code=process.returncode, restarts=self.restarts)

    async def _follow(self, process: trio.Process) -> None:
        async with aclosing(_lines(process)) as lines:
            with trio.move_on_after(READY_S):
                async for line in lines:
                    if (announced := _announcement(line)) is not None:
                        self._listening(announced)
                        break
            if not self.is_up:
                raise SandboxUnavailable("it did not say in time that it listens; its own words are on stderr")
            async for _ in lines:
                pass  # whatever else it says must not fill the pipe

    def _listening(self, announced: control.Ready) -> None:
        self._announced = announced
        self._port = urlsplit(announced.control_url).port or self._port
        self.is_up = True
        self.ready.set()
        log.info("the sandbox listens", url=announced.url, pid=self.pid, restarts=self.restarts)


def _environment(inherited: Mapping[str, str], token: str) -> dict[str, str]:
    kept = {
        name: value for name, value in inherited.items() if name in _INHERITED or name.startswith(_INHERITED_PREFIXES)
    }
    return {**kept, control.TOKEN_VARIABLE: token}


def _announcement(line: bytes) -> control.Ready | None:
    try:
        return msgspec.json.decode(line, type=control.Ready)
    except msgspec.DecodeError:
        return None


async def _lines(process: trio.Process) -> AsyncGenerator[bytes, None]:
    if process.stdout is None:
        return
    begun = b""
    async for chunk in process.stdout:
        *lines, begun = (begun + bytes(chunk)).split(b"\n")
        begun = begun[:_MAX_ANNOUNCEMENT]
        for line in lines:
            yield line


async def _stop(process: trio.Process) -> None:
    """End a child, bounded, whatever becomes of us meanwhile."""
    with trio.CancelScope(shield=True):
        if process.stdin is not None:
            await process.stdin.aclose()
        steps: Sequence[tuple[Callable[[], Any], float]] = (
            (lambda: None, STOP_S),
            (process.terminate, _KILL_S),
            (process.kill, _KILL_S),
        )
        for insist, patience_s in steps:
            if process.returncode is not None:
                break
            insist()
            with trio.move_on_after(patience_s):
                await process.wait()
        if process.stdout is not None:
            await process.stdout.aclose()
