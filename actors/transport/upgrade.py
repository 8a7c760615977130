"""The HTTP request that turns a stream into a websocket, and a strict reading of its answer.

Rule: no I/O, and nothing is understood that RFC 6455 does not require. The answer is read up to its blank line and not
further: what came behind it belongs to the websocket.
"""

from __future__ import annotations

import base64
import hashlib
import re
from typing import Final
from urllib.parse import urlsplit

from whatisup.errors import TransportError, UpgradeRefused

MAX_HEAD_BYTES: Final = 16 * 1024
"""The largest answer read, in bytes."""

ORIGIN: Final = "https://web.whatsapp.com"

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_SWITCHING: Final = 101
_STATUS_LINE: Final = re.compile(rb"HTTP/1\.1 ([1-5][0-9]{2})(?: [^\r\n\0]*)?")
_FIELD: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\r\n\0]*?)[ \t]*")


def build_request(url: str, key: bytes) -> bytes:
    """Return the request for `url`; `key` is 16 random bytes.

    Raises `TransportError` where the URL would not fit a request line.
    """
    parts = urlsplit(url)
    target = parts.path or "/"
    if parts.query:
        target += f"?{parts.query}"
    host = parts.netloc.rpartition("@")[2]
    if not (target + host).isascii() or not (target + host).isprintable() or " " in target + host:
        raise TransportError("the URL holds what no request line can")
    lines = (
        f"GET {target} HTTP/1.1",
        f"Host: {host}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {base64.b64encode(key).decode()}",
        "Sec-WebSocket-Version: 13",
        f"Origin: {ORIGIN}",
    )
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def read_answer(data: bytes, key: bytes) -> bytes | None:
    """Return what came behind a good answer to `key` (16 bytes); None while the answer is not whole.

    Raises:
        UpgradeRefused: the server answered with another status.
        TransportError: it is not the answer of a websocket server.
    """
    head, blank, rest = data.partition(b"\r\n\r\n")
    if len(head) > MAX_HEAD_BYTES:
        raise TransportError(f"an answer to the upgrade of more than {MAX_HEAD_BYTES} bytes")
    if not blank:
        if not _may_become_http(data):
            raise TransportError("the peer does not speak HTTP")
        return None
    first, *lines = head.split(b"\r\n")
    status = _STATUS_LINE.fullmatch(first)
    if status is None:
        raise TransportError("the peer does not speak HTTP/1.1")
    if int(status[1]) != _SWITCHING:
        raise UpgradeRefused(int(status[1]))
    _check(_fields(lines), key)
    return rest


def _may_become_http(data: bytes) -> bool:
    return data[:7] == b"HTTP/1."[: len(data)]


def _fields(lines: list[bytes]) -> dict[bytes, list[bytes]]:
    fields: dict[bytes, list[bytes]] = {}
    for line in lines:
        field = _FIELD.fullmatch(line)
        if field is None:
            raise TransportError("the answer to the upgrade has a malformed header")
        fields.setdefault(field[1].lower(), []).append(field[2])
    return fields


def _check(fields: dict[bytes, list[bytes]], key: bytes) -> None:
    accept = base64.b64encode(hashlib.sha1(base64.b64encode(key) + _GUID, usedforsecurity=False).digest())
    connection = b",".join(fields.get(b"connection", ())).lower().split(b",")
    if (
        [value.lower() for value in fields.get(b"upgrade", ())] != [b"websocket"]
        or b"upgrade" not in (token.strip() for token in connection)
        or fields.get(b"sec-websocket-accept") != [accept]
    ):
        raise TransportError("the answer to the upgrade is not that of a websocket server")
    # Neither was offered.
    if b"sec-websocket-extensions" in fields or b"sec-websocket-protocol" in fields:
        raise TransportError("the answer to the upgrade chooses what was not offered")
