"""What a route is, as data: its path, who may call it, what it takes, what it answers.

Rule: the router, the dispatcher and the OpenAPI document all read this one description; a route exists in all or none.
"""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from typing import Any, Final, Generic, TypeVar, cast

from msgspec import Struct
from quart import Response

from api import auth
from api.auth import Principal
from api.problems import Problem
from api.schemas.requests import NoQuery, Nothing, Request
from api.serving.asked import Asked
from api.serving.edge import Edge
from whatisup.store import Mode, Origin
from whatisup.store.cursor import decode_cursor

B = TypeVar("B", bound=Request)
Q = TypeVar("Q", bound=Request)
R = TypeVar("R")

JSON = "application/json"
SSE = "text/event-stream"

# Who owns what is done with the admin key, where otherwise a customer stands.
ADMIN = "admin"

# More rows are not worth the loop's time, however easily they are found.
NEAR_ROWS: Final = 50

# What took longer was not where one looks first: behind many deleted instances, say, or as long texts.
NEAR_S: Final = 0.01

# What a path may name a row with; whatever else stands there never reaches the store.
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")


class Access(Enum):
    """Who may call a route."""

    ANYBODY = "anybody"
    KEY = "key"
    TEST_KEY = "test_key"
    OPERATOR = "operator"
    ADMIN = "admin"

    @property
    def needs_key(self) -> bool:
        """Whether a customer's API key opens it."""
        return self in (Access.KEY, Access.TEST_KEY)


@dataclass(frozen=True, slots=True)
class Exchange(Generic[B, Q]):
    """One request, read and authenticated, on its way to a handler."""

    edge: Edge
    request_id: str
    asked: Asked
    params: Mapping[str, str]
    body: B
    query: Q
    caller: Principal | None
    raw_body: bytes = field(default=b"", repr=False)
    trace: str | None = None
    is_near: bool = False
    """Whether what is asked for lies where one looks first, so that finding it takes no time (`Endpoint.near`)."""

    async def read(self, fn: Callable[..., R], *args: Any, first: Callable[..., tuple[R, ...]] | None = None) -> R:
        """Read from the store as suits what is asked for: at once, or in the customer's turn and away from the loop.

        `first` looks where the answer probably is, no further than the loop can bear, and gives it, or nothing.

        A customer whose first rows took long to find, twice within seconds, takes turns for a while, so that the loop
        waits for it twice and no more.

        Raises:
            StoreUnavailable: the database cannot be reached, or did not answer in time.
        """
        database, edge = self.edge.system.database, self.edge
        if not self.is_near:
            return await database.read(fn, *args)
        customer_id = self.principal.customer_id
        if customer_id not in edge.far:
            began_at = time.thread_time()  # another process that has the processor meanwhile makes nothing long
            found = await database.peek(first or partial(_in_tuple, fn), *args)
            if found is None or time.thread_time() - began_at > NEAR_S:
                (edge.far if customer_id in edge.slow else edge.slow).add(customer_id)
            if found:
                return found[0]
        async with edge.streams.searches.one(customer_id):
            return await database.read(fn, *args)

    @property
    def method(self) -> str:
        """The request's method."""
        return self.asked.method

    @property
    def path(self) -> str:
        """The request's path, with what was encoded in it decoded."""
        return self.asked.path

    @property
    def headers(self) -> auth.Headers:
        """The request's header fields."""
        return self.asked.headers

    @property
    def is_operator(self) -> bool:
        """Whether the asker operates this gateway."""
        return is_operator(self.edge, self.asked)

    def accepts(self, offers: tuple[str, ...]) -> str:
        """The media type among `offers` that the client likes best."""
        return self.asked.prefers(offers)

    @property
    def principal(self) -> Principal:
        """Whoever holds the key; routes with `Access.KEY` and `TEST_KEY` always have one."""
        return cast("Principal", self.caller)

    @property
    def origin(self) -> Origin:
        """Who asked, for audit rows; without an API key it is whoever holds the admin key."""
        if self.caller is None:
            return Origin(actor=ADMIN, request_id=self.request_id)
        return self.caller.origin(self.request_id)

    @property
    def owner(self) -> tuple[str, Mode]:
        """Within whose requests an Idempotency-Key is unique: the customer in a mode, or the admin."""
        return (ADMIN, Mode.LIVE) if self.caller is None else (self.caller.customer_id, self.caller.mode)

    def require_scope(self, scope: str) -> None:
        """Refuse a key without a scope that this very request needs, beyond what its route does.

        Raises:
            Problem: `insufficient_scope`.
        """
        require_scopes(self.principal, (scope,))

    def row_id(self, name: str, code: str) -> str:
        """The id that the path has at `name`.

        Raises:
            Problem: `code`, when no row is named like that.
        """
        row_id = self.params[name]
        if _ID.match(row_id) is None:
            raise Problem(code)
        return row_id

    @property
    def instance_id(self) -> str:
        """The instance in the path, refused as unknown when the key is bound to another one.

        Raises:
            Problem: `instance_not_found`.
        """
        instance_id = self.params["instance_id"]
        if _ID.match(instance_id) is None or not self.principal.may_see(instance_id):
            raise Problem("instance_not_found")
        return instance_id


def _in_tuple(fn: Callable[..., R], *args: Any) -> tuple[R]:
    return (fn(*args),)


def is_operator(edge: Edge, asked: Asked) -> bool:
    """Whether whoever asks operates this gateway."""
    return auth.is_operator(asked.peer, asked.http_version, asked.headers, edge.settings.operator_token)


def require_scopes(principal: Principal, scopes: Iterable[str]) -> None:
    """Refuse a key that lacks one of these scopes.

    Raises:
        Problem: `insufficient_scope`, which names the first that is missing.
    """
    for scope in scopes:
        if not principal.has(scope):
            raise Problem("insufficient_scope", f"this needs a key with the scope `{scope}`", scope=scope)


def checked_cursor(cursor: str | None) -> str | None:
    """Let a cursor pass that our lists could have handed out.

    Raises:
        BadCursor: it is none of ours.
        Problem: `bad_cursor`, when it names a row as no row is named.
    """
    if cursor is not None and _ID.match(decode_cursor(cursor)[1]) is None:
        raise Problem("bad_cursor")
    return cursor


@dataclass(frozen=True, slots=True)
class Answer:
    """What a handler gives back: JSON from a Struct, or text or bytes of another media type."""

    content: Struct | str | bytes | None = None
    status: int = 200
    media_type: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)


Near = Callable[[Any, Principal], bool]
Handler = Callable[[Exchange[Any, Any]], Awaitable[Answer | Response]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A route. `path` is in OpenAPI's notation; `reply` is the Struct of a success, None for an empty one."""

    method: str
    path: str
    name: str
    summary: str
    handler: Handler
    reply: type[Struct] | None
    status: int = 200
    access: Access = Access.KEY
    body: type[Request] = Nothing
    query: type[Request] = NoQuery
    media: Mapping[str, str] = field(default_factory=dict)
    """Further media types of a success, each with a sentence."""
    scope: str | None = None
    """The scope a key needs (one of `KeyScope`); None only where every key may call."""
    further_scopes: tuple[str, ...] = ()
    """What it needs besides, where a route does one thing and shows another."""
    is_customer_wide: bool = False
    """Refused for instance-bound keys."""
    takes_idempotency_key: bool = False
    costs_token: bool = True
    """Whether a request counts against the customer's rate limit."""
    near: Near | None = None
    """Of a search: whether the first rows that an index has may answer this request, and are looked at first."""
    problems: tuple[str, ...] = ()
    """Codes that only this kind of route answers with; the ones every route shares are added by the document."""

    title: str = field(init=False)
    """Method and path, as people write them."""
    scopes: tuple[str, ...] = field(init=False)
    """Every scope that a key needs here."""
    is_search: bool = field(init=False)
    """Whether it may look through everything that a customer has: pages of lists, and replays."""
    takes_token: bool = field(init=False)
    """Whether a key or stream token may come in the URL."""

    def __post_init__(self) -> None:
        fields = {*self.query.__struct_fields__, *self.body.__struct_fields__}
        derived = {
            "title": f"{self.method} {self.path}",
            "scopes": (*(() if self.scope is None else (self.scope,)), *self.further_scopes),
            "is_search": self.access is Access.KEY and "limit" in fields,
            "takes_token": "token" in self.query.__struct_fields__,
        }
        for name, value in derived.items():  # once, since each request asks
            object.__setattr__(self, name, value)

    @property
    def rule(self) -> str:
        """The path in the router's notation."""
        return self.path.replace("{", "<").replace("}", ">")

    @property
    def may_stream(self) -> bool:
        """Whether it may answer without an end."""
        return SSE in self.media

    @property
    def takes_body(self) -> bool:
        """Whether a body other than `{}` may come."""
        return self.body is not Nothing
