"""Requests and their answers: the one stanza that expects a reply.

Both sides ask. An answer carries the request's id and goes back where the request came from; as an error it says so
twice, in its `type` and in an `<error>` child, because Baileys looks at the child and whatsmeow at the type.

Source: WhatsApp Web, as whatsmeow and Baileys do it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from whatisup.crypto import Entropy
from whatisup.jid import SERVER, Jid
from whatisup.wire import Content, Node

Kind: TypeAlias = Literal["get", "set"]
Attrs: TypeAlias = dict[str, str | Jid]

ERROR_TEXTS: Final = {
    400: "bad-request",
    401: "not-authorized",
    403: "forbidden",
    404: "item-not-found",
    405: "not-allowed",
    406: "not-acceptable",
    410: "gone",
    419: "resource-limit",
    423: "locked",
    429: "rate-overlimit",
    500: "internal-server-error",
    501: "feature-not-implemented",
    503: "service-unavailable",
    530: "partial-server-error",
}

_MAX_TEXT: Final = 200  # characters of a peer's error text that we keep

MAX_ID: Final = 128
"""Longest id of a message, in characters."""

MAX_NAME: Final = 512
"""Most characters of a push name that are kept."""

_ID: Final = re.compile(r"[!-~]+")
_NO_CONTROLS: Final = dict.fromkeys((*range(0x20), *range(0x7F, 0xA0)))
_MAX_UNIX: Final = 2**33  # the year 2242; what lies beyond is no clock


class IdSequence:
    """Ids of one connection's requests, `<u16>.<u16>-<n>`: Baileys' form, whose characters pack two to a byte."""

    __slots__ = ("_count", "_prefix")

    def __init__(self, entropy: Entropy) -> None:
        seed = entropy(4)
        self._prefix = f"{int.from_bytes(seed[:2], 'big')}.{int.from_bytes(seed[2:], 'big')}-"
        self._count = 0

    def next_id(self) -> str:
        """Return the next id; the first ends in 1."""
        self._count += 1
        return f"{self._prefix}{self._count}"


@dataclass(frozen=True, slots=True)
class Refusal:
    """The peer answered with an error: its code, its text (cut to 200 characters) and how long it wants peace."""

    code: int
    text: str
    backoff_s: int | None = None


def build_request(request_id: str, kind: Kind, xmlns: str, *children: Node, to: Jid = SERVER) -> Node:
    """Build a client's request."""
    return _iq({"to": to, "type": kind, "xmlns": xmlns, "id": request_id}, children)


def build_server_request(
    request_id: str, kind: Kind, xmlns: str, *children: Node, server_unix: int | None = None
) -> Node:
    """Build a server's request, with its clock in unix seconds as `t` where given."""
    attrs: Attrs = {"from": SERVER, "type": kind, "xmlns": xmlns, "id": request_id}
    if server_unix is not None:
        attrs["t"] = str(server_unix)
    return _iq(attrs, children)


def build_result(request: Node, *children: Node, server_unix: int | None = None) -> Node:
    """Answer `request`, which may have come from either side; `server_unix` is the server's clock as `t`."""
    attrs = _answering(request, "result")
    if server_unix is not None:
        attrs["t"] = str(server_unix)
    return _iq(attrs, children)


def build_error(request: Node, code: int, text: str | None = None, *, backoff_s: int | None = None) -> Node:
    """Refuse `request`; the text defaults to the code's usual slug."""
    attrs: Attrs = {"code": str(code), "text": ERROR_TEXTS.get(code, "error") if text is None else text}
    if backoff_s is not None:
        attrs["backoff"] = str(backoff_s)
    return _iq(_answering(request, "error"), (Node("error", attrs),))


def is_answer(node: Node) -> bool:
    """Whether this iq answers a request, be it with a result or an error."""
    return node.tag == "iq" and node.attrs.get("type") in ("result", "error")


def parse_refusal(answer: Node) -> Refusal | None:
    """Return what an answer refuses with, `None` where it is a result.

    Never raises: an error without a readable code counts as 500, since the request failed all the same.
    """
    error = answer.child("error")
    if error is None:
        return Refusal(500, "") if answer.attrs.get("type") == "error" else None
    reader = error.reader()
    code, text = reader.optional_integer("code"), reader.optional_string("text") or ""
    return Refusal(500 if code is None else code, text[:_MAX_TEXT], reader.optional_integer("backoff"))


def parse_unix(node: Node, key: str = "t") -> int | None:
    """Read a clock in unix seconds, `None` where it is absent or cannot be one. Never raises."""
    unix = node.reader().optional_integer(key)
    return unix if unix is not None and 0 <= unix < _MAX_UNIX else None


def is_message_id(text: str) -> bool:
    """Whether a text may be the id of a message: 1 to `MAX_ID` printable ASCII characters; devices choose them."""
    return len(text) <= MAX_ID and _ID.fullmatch(text) is not None


def readable(name: str | None) -> str | None:
    """Return a name that somebody gave themselves, cut to `MAX_NAME` characters, without control characters."""
    return None if name is None else name[:MAX_NAME].translate(_NO_CONTROLS).strip() or None


def _answering(request: Node, kind: str) -> Attrs:
    sender = request.attrs.get("from")
    attrs: Attrs = {"from": request.attrs.get("to") or SERVER} if sender is None else {"to": sender}
    attrs["type"] = kind
    if request_id := request.attrs.get("id"):
        attrs["id"] = request_id
    return attrs


def _iq(attrs: Attrs, children: tuple[Node, ...]) -> Node:
    content: Content = children or None
    return Node("iq", attrs, content)
