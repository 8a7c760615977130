"""Customers and their keys, for whoever holds the admin key. Without `WHATISUP_ADMIN_KEY` there are no such routes.

Rule: the admin key opens what is here and nothing else: it reads no message and drives no instance. What is done with
it stands in the customer's audit log.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from msgspec import UNSET

from api.problems import Problem
from api.routes.api_keys import require_later
from api.schemas.customers import CreateCustomer, CustomerBody, CustomerPage, PatchCustomer
from api.schemas.keys import ApiKeyBody, ApiKeyPage, CreateCustomerKey, IssuedApiKey, without_secret
from api.schemas.requests import NoQuery, Nothing, PageQuery
from api.serving.endpoint import ADMIN, Access, Answer, Endpoint, Exchange, checked_cursor
from api.serving.idempotency import write_once
from whatisup.store import Customer, Tx, customers, instances, keys

Plain = Exchange[Nothing, NoQuery]


async def create(exchange: Exchange[CreateCustomer, NoQuery]) -> Answer:
    """Make a customer."""
    return await write_once(exchange, partial(_create, exchange), status=201)


def _create(exchange: Exchange[CreateCustomer, NoQuery], tx: Tx) -> CustomerBody:
    body = exchange.body
    limits = {mode: limit for mode, limit in body.rate_limits.by_mode.items() if limit is not None}
    made = customers.create(tx, name=body.name, origin=exchange.origin, now=tx.now, rate_limits=limits)
    return CustomerBody.of(made)


async def list_(exchange: Exchange[Nothing, PageQuery]) -> Answer:
    """Show a page of customers."""
    query = exchange.query
    read = partial(customers.page, limit=query.limit, cursor=checked_cursor(query.cursor))
    rows, cursor = await exchange.edge.system.database.read(read)
    return Answer(CustomerPage(data=[CustomerBody.of(row) for row in rows], next_cursor=cursor))


async def _find(exchange: Exchange[Any, Any]) -> Customer:
    """Read the customer in the path.

    Raises:
        Problem: `customer_not_found`.
    """
    customer_id = exchange.row_id("customer_id", "customer_not_found")
    row = await exchange.edge.system.database.look(customers.get, customer_id)
    if row is None:
        raise Problem("customer_not_found")
    return row


async def show(exchange: Plain) -> Answer:
    """Show one customer."""
    return Answer(CustomerBody.of(await _find(exchange)))


async def patch(exchange: Exchange[PatchCustomer, NoQuery]) -> Answer:
    """Rename a customer, or change its limits."""
    customer = await _find(exchange)
    changed = await exchange.edge.system.writer.call(partial(_patch, exchange, customer.id), lane=ADMIN)
    return Answer(changed)


def _patch(exchange: Exchange[PatchCustomer, NoQuery], customer_id: str, tx: Tx) -> CustomerBody:
    body = exchange.body
    name = None if body.name is UNSET else body.name
    row = customers.patch(tx, customer_id, origin=exchange.origin, name=name, rate_limits=body.rate_limits.by_mode)
    if row is None:
        raise Problem("customer_not_found")
    return CustomerBody.of(row)


async def create_key(exchange: Exchange[CreateCustomerKey, NoQuery]) -> Answer:
    """Make a key for a customer and show its secret, this once."""
    customer = await _find(exchange)
    return await write_once(exchange, partial(_create_key, exchange, customer.id), status=201, kept=without_secret)


def _create_key(exchange: Exchange[CreateCustomerKey, NoQuery], customer_id: str, tx: Tx) -> IssuedApiKey:
    body = exchange.body
    require_later(body, tx.now)
    bound = body.instance_id
    if bound is not None and instances.get(tx.conn, tx.vault, bound, customer_id, body.mode) is None:
        raise Problem("instance_not_found")
    key, secret = keys.create(
        tx,
        customer_id=customer_id,
        mode=body.mode,
        name=body.name,
        origin=exchange.origin,
        now=tx.now,
        instance_id=bound,
        scopes=body.wanted_scopes,
        expires_at=body.expires_at_ms,
    )
    return IssuedApiKey.with_secret(key, secret)


async def list_keys(exchange: Exchange[Nothing, PageQuery]) -> Answer:
    """Show a page of a customer's active keys of both modes."""
    customer, query = await _find(exchange), exchange.query
    read = partial(
        keys.page,
        customer_id=customer.id,
        now=exchange.edge.now(),
        limit=query.limit,
        cursor=checked_cursor(query.cursor),
    )
    rows, cursor = await exchange.edge.system.database.read(read)
    return Answer(ApiKeyPage(data=[ApiKeyBody.of(row) for row in rows], next_cursor=cursor))


async def revoke_key(exchange: Plain) -> Answer:
    """Make a customer's key useless from now on."""
    customer = await _find(exchange)
    await exchange.edge.system.writer.call(partial(_revoke_key, exchange, customer.id), lane=ADMIN)
    exchange.edge.streams.end_key(exchange.params["key_id"])
    return Answer(status=204)


def _revoke_key(exchange: Plain, customer_id: str, tx: Tx) -> None:
    key_id = exchange.row_id("key_id", "api_key_not_found")
    if keys.revoke(tx, key_id, customer_id=customer_id, origin=exchange.origin, now=tx.now) is None:
        raise Problem("api_key_not_found")


_ONE: Final = "/admin/v1/customers/{customer_id}"
_UNKNOWN: Final = ("customer_not_found",)

ENDPOINTS: Final = (
    Endpoint(
        method="POST",
        path="/admin/v1/customers",
        name="create_customer",
        summary="Create a customer.",
        handler=create,
        access=Access.ADMIN,
        body=CreateCustomer,
        reply=CustomerBody,
        status=201,
        takes_idempotency_key=True,
    ),
    Endpoint(
        method="GET",
        path="/admin/v1/customers",
        name="list_customers",
        summary="List customers, newest first.",
        handler=list_,
        access=Access.ADMIN,
        query=PageQuery,
        reply=CustomerPage,
        problems=("bad_cursor",),
    ),
    Endpoint(
        method="GET",
        path=_ONE,
        name="get_customer",
        summary="Show a customer.",
        handler=show,
        access=Access.ADMIN,
        reply=CustomerBody,
        problems=_UNKNOWN,
    ),
    Endpoint(
        method="PATCH",
        path=_ONE,
        name="update_customer",
        summary="Rename a customer, or change its rate limits.",
        handler=patch,
        access=Access.ADMIN,
        body=PatchCustomer,
        reply=CustomerBody,
        problems=_UNKNOWN,
    ),
    Endpoint(
        method="POST",
        path=f"{_ONE}/api-keys",
        name="create_customer_api_key",
        summary="Make a key for a customer; its secret is shown this once.",
        handler=create_key,
        access=Access.ADMIN,
        body=CreateCustomerKey,
        reply=IssuedApiKey,
        status=201,
        takes_idempotency_key=True,
        problems=(*_UNKNOWN, "instance_not_found"),
    ),
    Endpoint(
        method="GET",
        path=f"{_ONE}/api-keys",
        name="list_customer_api_keys",
        summary="List a customer's active keys of both modes, newest first.",
        handler=list_keys,
        access=Access.ADMIN,
        query=PageQuery,
        reply=ApiKeyPage,
        problems=(*_UNKNOWN, "bad_cursor"),
    ),
    Endpoint(
        method="DELETE",
        path=f"{_ONE}/api-keys/{{key_id}}",
        name="revoke_customer_api_key",
        summary="Revoke a customer's key, at once and for good.",
        handler=revoke_key,
        access=Access.ADMIN,
        reply=None,
        status=204,
        problems=(*_UNKNOWN, "api_key_not_found"),
    ),
)
