"""Receivers of webhooks on loopback, each as bad as its script, and a CA of their own."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network
from pathlib import Path

import trio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from actors.delivery.client import WebhookClient
from actors.delivery.net import Resolver
from whatisup.webhooks.targets import Policy

LOOPBACK = Policy(private=(ip_network("127.0.0.0/8"),))

BODY = b'{"event":"message.received"}'
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
LONG = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n"
SHORT_S = 0.5

Stream = trio.abc.Stream
Script = Callable[["Receiver", Stream], Awaitable[None]]


class Receiver:
    """What one receiver has seen: `requests` (head and body of each) and `accepted` connections."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.requests: list[tuple[bytes, bytes]] = []
        self.accepted = 0
        self.ended = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook?token=s3cret"

    async def read_request(self, stream: Stream) -> bool:
        """Read one request to its end; False where the connection ended instead."""
        data = b""
        while b"\r\n\r\n" not in data:
            if not (more := await stream.receive_some(4096)):
                return False
            data += more
        head, body = data.split(b"\r\n\r\n", 1)
        length = next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-l"))
        while len(body) < length:
            body += await stream.receive_some(4096)
        self.requests.append((head, body))
        return True


@asynccontextmanager
async def serving(
    script: Script, tls: ssl.SSLContext | None = None, *, host: str = "127.0.0.1"
) -> AsyncIterator[Receiver]:
    """Run `script` for every connection; it may fail as connections do."""
    [listener] = await trio.open_tcp_listeners(0, host=host)
    receiver = Receiver(listener.socket.getsockname()[1])

    async def accept(stream: Stream) -> None:
        receiver.accepted += 1
        try:
            if tls is not None:
                stream = trio.SSLStream(stream, tls, server_side=True, https_compatible=True)
            await script(receiver, stream)
        except (trio.BrokenResourceError, trio.ClosedResourceError, ssl.SSLError):
            pass
        finally:
            receiver.ended += 1
            await trio.aclose_forcefully(stream)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, accept, [listener])
        yield receiver
        nursery.cancel_scope.cancel()


def status(line: str, *headers: str) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {line}", *headers, "Content-Length: 0", "", ""]).encode()


async def wait_for_end(stream: Stream) -> None:
    """Say nothing until the other side has had enough."""
    while await stream.receive_some(65536):
        pass


def answer(*parts: bytes, then: str = "keep") -> Script:
    """Answer each request with `parts`; then `keep` the connection for the next, `close` it or `hang`."""

    async def script(receiver: Receiver, stream: Stream) -> None:
        while await receiver.read_request(stream):
            for part in parts:
                await stream.send_all(part)
            if then == "hang":
                await wait_for_end(stream)
            if then == "close":
                return

    return script


def flood(head: bytes, again: bytes) -> Script:
    """Answer with `head`, then with `again` without end."""

    async def script(receiver: Receiver, stream: Stream) -> None:
        await receiver.read_request(stream)
        await stream.send_all(head)
        while True:
            await stream.send_all(again)

    return script


def drip(data: bytes, every_s: float) -> Script:
    """Answer byte by byte."""

    async def script(receiver: Receiver, stream: Stream) -> None:
        await receiver.read_request(stream)
        for byte in data:
            await stream.send_all(bytes((byte,)))
            await trio.sleep(every_s)

    return script


def to(*addresses: str) -> Resolver:
    async def resolve(host: str, port: int) -> Sequence[str]:
        await trio.lowlevel.checkpoint()
        return addresses

    return resolve


@asynccontextmanager
async def opened(
    *,
    timeout_s: float = 5.0,
    policy: Policy = LOOPBACK,
    ca_file: str | None = None,
    resolver: Resolver | None = None,
    max_connections: int = 8,
) -> AsyncIterator[WebhookClient]:
    """A client that, when the test is over, holds no connection in use."""
    async with WebhookClient(
        policy, timeout_s=timeout_s, max_connections=max_connections, ca_file=ca_file, resolver=resolver
    ) as client:
        yield client
        assert client.connections[0] == 0
    assert client.connections == (0, 0)


class Authority:
    """A private CA and what it signs, as files in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tests only")])
        certificate = (
            self._builder(self._name, self._key.public_key(), timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.file = folder / "ca.pem"
        self.file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def _builder(self, name: x509.Name, key: ec.EllipticCurvePublicKey, lives: timedelta) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=2))
            .not_valid_after(now + lives)
        )

    def serve_as(self, host: str, *, lives: timedelta = timedelta(days=1), is_ours: bool = True) -> ssl.SSLContext:
        """Return the context of a server with a certificate for `host`; not `is_ours` = signed by itself."""
        key = ec.generate_private_key(ec.SECP256R1())
        names: list[x509.GeneralName]
        try:
            names = [x509.IPAddress(ip_address(host))]
        except ValueError:
            names = [x509.DNSName(host)]
        certificate = (
            self._builder(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)]), key.public_key(), lives)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .sign(self._key if is_ours else key, hashes.SHA256())
        )
        file = self.folder / f"{certificate.serial_number}.pem"
        file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            + certificate.public_bytes(serialization.Encoding.PEM)
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context
