"""A request as the dispatcher sees it, whichever way it came: what was asked, by whom, and how to read its body.

Rule: what a client said is kept as it came, and read only by whoever needs it; most requests need little of it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

from werkzeug.datastructures import MIMEAccept
from werkzeug.http import parse_accept_header, parse_options_header

from api.auth import Headers


class ScopeFields:
    """Header fields: the first value of each name; names are in lower case."""

    __slots__ = ("_values",)

    def __init__(self, values: dict[str, str]) -> None:
        self._values = values

    @classmethod
    def of(cls, headers: Iterable[tuple[bytes, bytes]]) -> ScopeFields:
        """Take them from an ASGI scope."""
        values: dict[str, str] = {}
        for name, value in headers:
            values.setdefault(name.decode("latin1").lower(), value.decode("latin1"))
        return cls(values)

    def get(self, name: str, /) -> str | None:
        """The first value that a name has."""
        return self._values.get(name.lower())

    def __contains__(self, name: str, /) -> bool:
        return name.lower() in self._values


@dataclass(slots=True)
class Asked:
    """A request. `peer` is an address, `read` gives the body whole."""

    method: str
    path: str
    query: bytes
    headers: Headers
    peer: str | None
    http_version: str
    read: Callable[[], Awaitable[bytes]] = field(repr=False)

    @property
    def parameters(self) -> list[tuple[str, str]]:
        """The query string, name by name."""
        if not self.query:
            return []
        return parse_qsl(self.query.decode(), keep_blank_values=True, errors="werkzeug.url_quote")

    @property
    def media_type(self) -> str:
        """What the body is said to be."""
        said = self.headers.get("Content-Type") or ""
        return said if said == "application/json" else parse_options_header(said)[0].lower()

    def prefers(self, offers: tuple[str, ...]) -> str:
        """The media type among `offers` that the client likes best; the first where it likes none."""
        accepted = parse_accept_header(self.headers.get("Accept"), MIMEAccept)
        return accepted.best_match(offers, default=offers[0]) or offers[0]


@dataclass(slots=True)
class Visit:
    """What is found out about a request on its way, for its answer, its line in the log and its numbers."""

    request_id: str
    started_at: float
    """`time.perf_counter` when it came."""
    customer_id: str | None = None
    key_id: str | None = None
    problem: str | None = None
    trace: str | None = None
    rate: dict[str, str] = field(default_factory=dict)
    """Headers that tell how the customer stands with its limit."""
