"""The plainest of requests over HTTP/1.1, read from one piece of bytes, and a whole answer written as one.

Rule: this reads a part of what h11 reads, and to the same values; of whatever is not plain in every byte it says
nothing, and h11 is asked. So what is odd, wrong or meant to confuse is judged in one place.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from msgspec import Struct

MAX_HEAD: Final = 16 * 1024
"""The longest head in bytes."""

# Tokens and visible ASCII alone. h11 takes more (obsolete text, folded lines, bare line feeds), and is asked about it.
_REQUEST_LINE: Final = re.compile(r"(DELETE|GET|PATCH|POST|PUT) (/[!-~]*) HTTP/1\.1\Z")
# Each byte can match in one way only: with two ways for a space, a line of 16 KiB of them took a second or two.
_FIELD: Final = re.compile(r"([-!#$%&'*+.^_`|~0-9a-zA-Z]+):([ -~\t]*)\Z")
_LENGTH: Final = re.compile(r"[0-9]{1,9}\Z")

# What changes how a connection goes on, or where a body ends.
_NOT_PLAIN: Final = frozenset(
    {"connection", "expect", "http2-settings", "te", "trailer", "transfer-encoding", "upgrade"}
)
_ONCE: Final = frozenset({"connection", "content-length", "host"})


class Plain(Struct, frozen=True):
    """A whole request. `target` is path and query as they came; names of `fields` are in lower case, first values."""

    method: str
    target: str
    fields: dict[str, str]
    body: bytes

    def __repr__(self) -> str:  # no keys, no bodies
        return f"{type(self).__name__}({self.method!r})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return []  # rich would show every field


def read_plain(data: bytes) -> Plain | None:
    """Read what must be exactly one request, head and body; None where it is more, less, or not plain."""
    end = data.find(b"\r\n\r\n", 0, MAX_HEAD)
    if end < 0:
        return None
    lines = data[:end].decode("latin1").split("\r\n")
    asked = _REQUEST_LINE.match(lines[0])
    if asked is None:
        return None
    fields: dict[str, str] = {}
    for line in lines[1:]:
        found = _FIELD.match(line)
        if found is None:
            return None
        name, value = found[1].lower(), found[2].strip(" \t")
        if name in fields:
            if name in _ONCE:
                return None
        elif name not in _NOT_PLAIN or (name == "connection" and value.lower() == "keep-alive"):
            fields[name] = value
        else:
            return None
    length = fields.get("content-length", "0")
    is_whole = "host" in fields and _LENGTH.match(length) is not None and int(length) == len(data) - end - 4
    return Plain(asked[1], asked[2], fields, data[end + 4 :]) if is_whole else None


def write_answer(status: int, headers: Mapping[str, str], body: bytes) -> bytes:
    """Write a whole answer; names come out in lower case, and the length of the body is added where one may come.

    Raises:
        ValueError: a header is no line of Latin-1.
    """
    lines = [f"{name.lower()}: {value}\r\n" for name, value in headers.items()]
    if status != HTTPStatus.NO_CONTENT:  # which must not name a length, says RFC 9110 §8.6
        lines.append(f"content-length: {len(body)}\r\n")
    head = f"HTTP/1.1 {status} \r\n{''.join(lines)}\r\n"
    if head.count("\n") != len(lines) + 2 or head.count("\r") != len(lines) + 2 or "\0" in head:
        raise ValueError("a header of the answer is no line")
    return head.encode("latin1") + body
