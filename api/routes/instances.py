"""Instances: rows are written through the writer, lives are changed by asking the actor.

Rule: what changes an instance's life is one command handed to its actor; a client that leaves while it waits leaves
nothing half done.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final

import trio
from msgspec import UNSET

from actors.messages import Delete, Logout, PairCode, QrCode, RequestPairCode, RequestQr, Start, Stop
from api.problems import Problem
from api.schemas import qr
from api.schemas.replies import InstanceBody, InstancePage, LoggedOutInstance, PairCodeBody, QrBody
from api.schemas.requests import (
    CreateInstance,
    NoQuery,
    Nothing,
    PageQuery,
    PairCodeRequest,
    PatchInstance,
    QrQuery,
)
from api.serving.endpoint import JSON, NEAR_ROWS, Answer, Endpoint, Exchange, checked_cursor
from api.serving.idempotency import act_once, write_once
from api.serving.offers import LinkingCode
from whatisup.store import KEEP, Instance, Mode, Tx, instances, phones

PAIR_CODE_S: Final = 45.0
PNG: Final = "image/png"
SVG: Final = "image/svg+xml"
TEXT: Final = "text/plain"

Plain = Exchange[Nothing, NoQuery]


async def create(exchange: Exchange[CreateInstance, NoQuery]) -> Answer:
    """Make a row; the actor comes with the first command."""
    return await write_once(exchange, partial(_create, exchange), status=201)


def _create(exchange: Exchange[CreateInstance, NoQuery], tx: Tx) -> InstanceBody:
    row = instances.create(
        tx,
        customer_id=exchange.principal.customer_id,
        mode=exchange.principal.mode,
        name=exchange.body.name,
        metadata=exchange.body.metadata,
        origin=exchange.origin,
        now=tx.now,
    )
    return InstanceBody.of(row)


async def list_(exchange: Exchange[Nothing, PageQuery]) -> Answer:
    """Show a page; a bound key sees its own instance alone."""
    who, query = exchange.principal, exchange.query
    rows, cursor = await exchange.read(
        instances.list_page, who.customer_id, who.mode, who.instance_id, query.limit, checked_cursor(query.cursor)
    )
    return Answer(InstancePage(data=[InstanceBody.of(row) for row in rows], next_cursor=cursor))


async def find(exchange: Exchange[Any, Any]) -> Instance:
    """Read the instance in the path.

    Raises:
        Problem: `instance_not_found`, for unknown, deleted and other people's alike.
    """
    who = exchange.principal
    row = await exchange.edge.system.database.look(instances.get, exchange.instance_id, who.customer_id, who.mode)
    if row is None:
        raise Problem("instance_not_found")
    return row


async def show(exchange: Plain) -> Answer:
    """Show one instance."""
    return Answer(InstanceBody.of(await find(exchange)))


async def patch(exchange: Exchange[PatchInstance, NoQuery]) -> Answer:
    """Rename an instance, or replace its metadata."""
    await find(exchange)
    return Answer(await exchange.edge.system.writer.call(partial(_patch, exchange), lane=exchange.instance_id))


def _patch(exchange: Exchange[PatchInstance, NoQuery], tx: Tx) -> InstanceBody:
    body, who = exchange.body, exchange.principal
    row = instances.patch(
        tx,
        exchange.instance_id,
        customer_id=who.customer_id,
        mode=who.mode,
        name=KEEP if body.name is UNSET else body.name,
        metadata=KEEP if body.metadata is UNSET else body.metadata,
        origin=exchange.origin,
        now=tx.now,
    )
    return InstanceBody.of(row)


async def delete(exchange: Plain) -> Answer:
    """Unlink, destroy the keys and hide the instance."""
    await find(exchange)
    await exchange.edge.ask(exchange.instance_id, Delete(exchange.origin))
    return Answer(status=204)


async def start(exchange: Plain) -> Answer:
    """Resume from the stored auth state."""
    await find(exchange)
    await exchange.edge.ask(exchange.instance_id, Start(exchange.origin))
    return await show(exchange)


async def stop(exchange: Plain) -> Answer:
    """Close the socket and stay down."""
    await find(exchange)
    await exchange.edge.ask(exchange.instance_id, Stop(exchange.origin))
    return await show(exchange)


async def log_out(exchange: Plain) -> Answer:
    """Unlink from the phone and destroy the auth state."""
    await find(exchange)
    outcome = await exchange.edge.ask(exchange.instance_id, Logout(exchange.origin))
    return Answer(LoggedOutInstance.after_logout(await find(exchange), unlinked=outcome.unlinked))


async def show_qr(exchange: Exchange[Nothing, QrQuery]) -> Answer:
    """Give the QR on offer, starting to pair if need be."""
    await find(exchange)
    offer = None
    with trio.move_on_after(exchange.query.wait_s):
        offer = await exchange.edge.ask(exchange.instance_id, RequestQr(exchange.origin))
    if offer is None:
        raise Problem("no_qr")
    return await exchange.edge.draw(partial(_picture, exchange.accepts((JSON, PNG, SVG, TEXT)), offer))


def _picture(media_type: str, offer: QrCode) -> Answer:
    match media_type:
        case "image/png":
            return Answer(qr.png(offer.code), media_type=PNG)
        case "image/svg+xml":
            return Answer(qr.svg(offer.code), media_type=SVG)
        case "text/plain":
            return Answer(qr.terminal_art(offer.code), media_type=f"{TEXT}; charset=utf-8")
    return Answer(QrBody.of(offer.code, offer.expires_at))


async def pair_code(exchange: Exchange[PairCodeRequest, NoQuery]) -> Answer:
    """Ask WhatsApp for a linking code to type into a phone."""
    await find(exchange)
    number = exchange.body.phone_number.removeprefix("+")
    if exchange.principal.mode is Mode.TEST:
        await _require_phone(exchange, number)
    return await act_once(exchange, partial(_request_code, exchange, number))


async def _require_phone(exchange: Exchange[PairCodeRequest, NoQuery], number: str) -> None:
    """Let a test instance be linked to the customer's own simulated phones alone."""
    phone = await exchange.edge.system.database.look(phones.get, number, exchange.principal.customer_id)
    if phone is None:
        message = "no sandbox phone of yours has this number; POST /v1/sandbox/phones makes one"
        raise Problem("validation_failed", message, field="phone_number")


async def _request_code(exchange: Exchange[PairCodeRequest, NoQuery], number: str) -> PairCodeBody:
    edge, offer = exchange.edge, None
    with trio.move_on_after(PAIR_CODE_S):
        offer = await edge.ask(exchange.instance_id, RequestPairCode(exchange.origin, number))
    if offer is None:
        raise Problem("pair_code_failed", "WhatsApp did not hand out a linking code in time; try again")
    edge.offers.remember(exchange.instance_id, _linking_code(number, offer), edge.now())
    return PairCodeBody.of(offer.code, offer.expires_at)


def _linking_code(number: str, offer: PairCode) -> LinkingCode:
    return LinkingCode(number, offer.code, offer.expires_at)


_LIFE: Final = ("instance_not_found", "invalid_lifecycle_transition", "mailbox_full", "instance_restarting")
_PAIRING: Final = ("session_exists", "pairing_ended", "worker_at_capacity")

ENDPOINTS: Final = (
    Endpoint(
        method="POST",
        path="/v1/instances",
        name="create_instance",
        summary="Create an instance; no socket is spent on it yet.",
        handler=create,
        scope="instances:write",
        body=CreateInstance,
        reply=InstanceBody,
        status=201,
        is_customer_wide=True,
        takes_idempotency_key=True,
    ),
    Endpoint(
        method="GET",
        path="/v1/instances",
        name="list_instances",
        summary="List instances, newest first.",
        handler=list_,
        near=lambda query, _who: query.limit <= NEAR_ROWS,
        scope="instances:read",
        query=PageQuery,
        reply=InstancePage,
        problems=("bad_cursor",),
    ),
    Endpoint(
        method="GET",
        path="/v1/instances/{instance_id}",
        name="get_instance",
        summary="Show an instance.",
        handler=show,
        scope="instances:read",
        reply=InstanceBody,
        problems=("instance_not_found",),
    ),
    Endpoint(
        method="PATCH",
        path="/v1/instances/{instance_id}",
        name="update_instance",
        summary="Rename an instance, or replace its metadata.",
        handler=patch,
        scope="instances:write",
        body=PatchInstance,
        reply=InstanceBody,
        problems=("instance_not_found",),
    ),
    Endpoint(
        method="DELETE",
        path="/v1/instances/{instance_id}",
        name="delete_instance",
        summary="Unlink the phone if the socket is live, destroy the auth state, hide the instance.",
        handler=delete,
        scope="instances:write",
        reply=None,
        status=204,
        problems=_LIFE,
    ),
    Endpoint(
        method="GET",
        path="/v1/instances/{instance_id}/qr",
        name="get_qr",
        summary="Show the QR to scan; the first call starts the session.",
        handler=show_qr,
        scope="instances:write",
        query=QrQuery,
        reply=QrBody,
        media={PNG: "The QR as a picture.", SVG: "The QR as a drawing.", TEXT: "The QR as terminal art."},
        problems=(*_LIFE, *_PAIRING, "no_qr"),
    ),
    Endpoint(
        method="POST",
        path="/v1/instances/{instance_id}/pair-code",
        name="request_pair_code",
        summary="Get an 8-character code to type into the phone instead of scanning a QR.",
        handler=pair_code,
        scope="instances:write",
        body=PairCodeRequest,
        reply=PairCodeBody,
        takes_idempotency_key=True,
        problems=(*_LIFE, *_PAIRING, "pair_code_failed"),
    ),
    Endpoint(
        method="POST",
        path="/v1/instances/{instance_id}/start",
        name="start_instance",
        summary="Resume a stopped or refused session from its stored auth state.",
        handler=start,
        scope="instances:write",
        reply=InstanceBody,
        problems=(*_LIFE, "worker_at_capacity"),
    ),
    Endpoint(
        method="POST",
        path="/v1/instances/{instance_id}/stop",
        name="stop_instance",
        summary="Close the socket and stay down, keeping the auth state.",
        handler=stop,
        scope="instances:write",
        reply=InstanceBody,
        problems=_LIFE,
    ),
    Endpoint(
        method="POST",
        path="/v1/instances/{instance_id}/logout",
        name="log_out_instance",
        summary="Unlink from the phone and destroy the auth state.",
        handler=log_out,
        scope="instances:write",
        reply=LoggedOutInstance,
        problems=_LIFE,
    ),
)
