"""Simulated phones and faults, for test keys: the sandbox's control API seen through one customer's window.

What the people behind the phones do is in `people.py`.

Rule: a number or fault that is not the customer's does not exist, whatever the sandbox knows of it. What touches the
sandbox runs to its (bounded) end even if the client leaves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, Literal

import trio
from msgspec import Struct, structs

from actors.instance.auth import ACCOUNT, OWN
from actors.messages import RequestQr
from actors.sandbox import SandboxRefused
from api.problems import Problem
from api.schemas.replies import FaultBody, FaultList, PhoneBody, PhonePage, ScanBody
from api.schemas.requests import CreateFault, CreatePhone, NoQuery, Nothing, PageQuery, PhoneAction
from api.serving.endpoint import Access, Answer, Endpoint, Exchange
from api.serving.idempotency import act_once, earlier, prepare_and_write_once
from whatisup import control
from whatisup.protocol import Account
from whatisup.store import Instance, Phone, Tx, auth, instances, phones
from whatisup.store.cursor import decode_cursor, encode_cursor

DRAWS: Final = 5
QR_WAIT_S: Final = 10.0

# All customers share one sandbox: nobody may fill it.
MAX_PHONES: Final = 1000
MAX_FAULTS: Final = 100

Plain = Exchange[Nothing, NoQuery]
Action = Exchange[PhoneAction, NoQuery]


class _NumberTaken(Exception):
    """The sandbox has an account of this number, or another customer has the number."""


# --- phones ---------------------------------------------------------------------------------------------------------


async def create_phone(exchange: Exchange[CreatePhone, NoQuery]) -> Answer:
    """Make a simulated phone."""
    return await create_account(exchange, exchange.body.number, PhoneBody.of, name=exchange.body.name)


async def create_account(
    exchange: Exchange[Any, Any],
    wanted: str | None,
    render: Callable[[control.Account], Struct],
    *,
    name: str | None,
    persona: control.Persona = control.Persona.SILENT,
) -> Answer:
    """Make an account in the sandbox, then record whose it is; one that was lost in between belongs to nobody.

    Raises:
        Problem: `phone_exists`, `sandbox_refused`, or about the Idempotency-Key.
    """
    replay = await earlier(exchange)
    if replay is not None:
        return replay
    await _require_room_for_phone(exchange)
    with trio.CancelScope(shield=True):
        for _ in range(DRAWS if wanted is None else 1):
            request = control.AccountRequest(wanted or _draw(exchange), name, exchange.principal.customer_id, persona)
            try:
                return await prepare_and_write_once(exchange, partial(_create, exchange, request, render), status=201)
            except _NumberTaken:
                continue
    raise Problem("phone_exists")


async def _require_room_for_phone(exchange: Exchange[Any, Any]) -> None:
    """Refuse more phones than one customer may have.

    Raises:
        Problem: `sandbox_refused`.
    """
    rows = await exchange.edge.system.database.read(phones.list_by_customer, exchange.principal.customer_id, MAX_PHONES)
    if len(rows) >= MAX_PHONES:
        raise Problem("sandbox_refused", f"a customer has at most {MAX_PHONES} simulated phones; use one of them again")


def _draw(exchange: Exchange[Any, Any]) -> str:
    return f"999{int.from_bytes(exchange.edge.entropy(8)) % 10**9:09d}"


async def _create(
    exchange: Exchange[Any, Any], request: control.AccountRequest, render: Callable[[control.Account], Struct]
) -> Callable[[Tx], Struct]:
    sandbox = exchange.edge.require_sandbox()
    try:
        account = await sandbox.create_account(
            request.number, request.name, tenant=request.tenant, persona=request.persona
        )
    except SandboxRefused as refusal:
        if refusal.code == "number_taken":
            raise _NumberTaken from None
        raise
    return partial(_claim, exchange, account, render)


def _claim(
    exchange: Exchange[Any, Any], account: control.Account, render: Callable[[control.Account], Struct], tx: Tx
) -> Struct:
    if not phones.claim(tx, exchange.principal.customer_id, account.number, tx.now):
        raise _NumberTaken
    told = {"name": account.name, "persona": account.persona}
    _append(exchange, "sandbox_phone.created", account.number, told, tx)
    return render(account)


async def note(exchange: Exchange[Any, Any], action: str, target_id: str, after: Mapping[str, Any]) -> None:
    """Write into the audit log what was changed in the sandbox; the change itself has been made."""
    work = partial(_append, exchange, action, target_id, after)
    await exchange.edge.system.writer.call(work, lane=exchange.principal.customer_id)


def _append(exchange: Exchange[Any, Any], action: str, target_id: str, after: Mapping[str, Any], tx: Tx) -> None:
    tx.append_audit(
        customer_id=exchange.principal.customer_id,
        mode=exchange.principal.mode,
        origin=exchange.origin,
        action=action,
        target_type=action.partition(".")[0],
        target_id=target_id,
        after=after,
    )


async def list_phones(exchange: Exchange[Nothing, PageQuery]) -> Answer:
    """Show the customer's phones in order of creation, as far as the sandbox knows them."""
    accounts, cursor = await page_of_accounts(exchange)
    return Answer(PhonePage(data=[PhoneBody.of(account) for account in accounts], next_cursor=cursor))


async def page_of_accounts(exchange: Exchange[Nothing, PageQuery]) -> tuple[list[control.Account], str | None]:
    """A page of the customer's numbers, and the cursor of the next one."""
    edge, query = exchange.edge, exchange.query
    rows = await edge.system.database.read(phones.list_by_customer, exchange.principal.customer_id)
    if query.cursor is not None:
        last = decode_cursor(query.cursor)
        rows = [row for row in rows if (row.created_at, row.number) > last]
    shown = rows[: query.limit]
    accounts = {account.number: account for account in await edge.require_sandbox().accounts()} if shown else {}
    cursor = encode_cursor(shown[-1].created_at, shown[-1].number) if len(rows) > len(shown) else None
    return [accounts[row.number] for row in shown if row.number in accounts], cursor


async def find_phone(exchange: Exchange[Any, Any], number: str) -> Phone:
    """Find one of the customer's phones.

    Raises:
        Problem: `phone_not_found`, for unknown and other people's numbers alike.
    """
    customer_id, phone = exchange.principal.customer_id, None
    if number.isascii() and number.isdigit():
        phone = await exchange.edge.system.database.look(phones.get, number, customer_id)
    if phone is None:
        raise Problem("phone_not_found")
    return phone


async def _instance(exchange: Exchange[Any, Any], instance_id: str) -> Instance:
    """Find one of the customer's test instances.

    Raises:
        Problem: `instance_not_found`.
    """
    who = exchange.principal
    row = None
    if who.may_see(instance_id):
        row = await exchange.edge.system.database.look(instances.get, instance_id, who.customer_id, who.mode)
    if row is None:
        raise Problem("instance_not_found")
    return row


async def scan(exchange: Action) -> Answer:
    """Let the phone type the instance's linking code if it was given one, or else scan the instance's QR."""
    edge = exchange.edge
    phone = await find_phone(exchange, exchange.params["number"])
    instance = await _instance(exchange, exchange.body.instance_id)
    sandbox = edge.require_sandbox()
    code = edge.offers.take(instance.id, phone.number, edge.now())
    with trio.CancelScope(shield=True):
        if code is not None:
            linked = await sandbox.enter_link_code(phone.number, code)
        else:
            linked = await sandbox.scan(phone.number, await _qr_on_offer(exchange, instance))
    method: Literal["qr", "linking_code"] = "qr" if code is None else "linking_code"
    return Answer(ScanBody(number=linked.number, device=linked.device, instance_id=instance.id, method=method))


async def _qr_on_offer(exchange: Action, instance: Instance) -> str:
    with trio.move_on_after(QR_WAIT_S):
        offer = await exchange.edge.ask(instance.id, RequestQr(exchange.origin))
        return offer.code
    raise Problem("no_qr")


async def unlink(exchange: Action) -> Answer:
    """Let the phone remove the instance from its linked devices."""
    phone = await find_phone(exchange, exchange.params["number"])
    number, device = await linked_device(exchange, exchange.body.instance_id)
    if number != phone.number:
        raise Problem("sandbox_refused", "the instance is not linked to this phone")
    with trio.CancelScope(shield=True):
        await exchange.edge.require_sandbox().unlink(number, device)
    return Answer(status=204)


async def linked_device(exchange: Exchange[Any, Any], instance_id: str) -> tuple[str, int]:
    """Find out as which device, of which phone, an instance is linked.

    Raises:
        Problem: `instance_not_found`, or `sandbox_refused` when no phone is linked.
    """
    row = await _instance(exchange, instance_id)
    stored = await exchange.edge.system.database.look(auth.get, row.id, ACCOUNT, OWN)
    if stored is None:
        raise Problem("sandbox_refused", "no phone is linked to the instance")
    account = Account.decode(stored)
    return account.phone_number, account.jid.device


# --- faults ---------------------------------------------------------------------------------------------------------


async def arm(exchange: Exchange[CreateFault, NoQuery]) -> Answer:
    """Arm a fault on one phone or on one instance's connections."""
    return await act_once(exchange, partial(_arm, exchange), status=201)


async def _arm(exchange: Exchange[CreateFault, NoQuery]) -> FaultBody:
    body = exchange.body
    if body.instance_id is not None:
        number, device = await linked_device(exchange, body.instance_id)
        scope = control.Scope(number, device)
    else:
        scope = control.Scope((await find_phone(exchange, body.number or "")).number)
    try:
        request = control.FaultRequest(body.name, scope, body.times, body.seconds, body.params)
    except ValueError as error:
        raise Problem("validation_failed", str(error)) from None
    armed = [fault for fault in await _own_faults(exchange) if 0 not in (fault.times_left, fault.expires_in_s)]
    if len(armed) >= MAX_FAULTS:
        raise Problem("sandbox_refused", f"at most {MAX_FAULTS} faults may be armed at once; disarm some first")
    with trio.CancelScope(shield=True):
        fault = await exchange.edge.require_sandbox().arm(request)
        await note(exchange, "sandbox_fault.armed", fault.id, {"name": fault.name, "number": fault.scope.number})
    return _fault_body(fault)


def _fault_body(fault: control.Fault) -> FaultBody:
    params = {key: value for key, value in structs.asdict(fault.params).items() if value is not None}
    return FaultBody(
        id=fault.id,
        name=fault.name,
        number=fault.scope.number,
        device=fault.scope.device,
        times_left=fault.times_left,
        expires_in_s=fault.expires_in_s,
        hits=fault.hits,
        params=params,
    )


async def _own_faults(exchange: Exchange[Any, Any]) -> list[control.Fault]:
    rows = await exchange.edge.system.database.read(phones.list_by_customer, exchange.principal.customer_id)
    own = {row.number for row in rows}
    return [fault for fault in await exchange.edge.require_sandbox().faults() if fault.scope.number in own]


async def list_faults(exchange: Plain) -> Answer:
    """Show the faults on the customer's phones."""
    return Answer(FaultList(data=[_fault_body(fault) for fault in await _own_faults(exchange)]))


async def disarm(exchange: Plain) -> Answer:
    """Disarm one fault."""
    fault_id = exchange.params["fault_id"]
    if not any(fault.id == fault_id for fault in await _own_faults(exchange)):
        raise Problem("fault_not_found")
    with trio.CancelScope(shield=True):
        try:
            await exchange.edge.require_sandbox().disarm(fault_id)
        except SandboxRefused as refusal:
            if refusal.code == "unknown_fault":  # it is spent: shown, but no longer armed
                raise Problem("fault_not_found") from None
            raise
        await note(exchange, "sandbox_fault.disarmed", fault_id, {})
    return Answer(status=204)


async def disarm_all(exchange: Plain) -> Answer:
    """Disarm every fault on the customer's phones."""
    with trio.CancelScope(shield=True):
        for number in {fault.scope.number or "" for fault in await _own_faults(exchange)}:
            await exchange.edge.require_sandbox().disarm_all(number)
            await note(exchange, "sandbox_fault.disarmed", number, {"number": number})
    return Answer(status=204)


_REFUSED: Final = ("sandbox_refused", "phone_not_found")
_LINKING: Final = (*_REFUSED, "instance_not_found", "no_qr", "session_exists", "mailbox_full", "instance_restarting")

ENDPOINTS: Final = (
    Endpoint(
        method="POST",
        path="/v1/sandbox/phones",
        name="create_sandbox_phone",
        summary="Create a simulated phone.",
        handler=create_phone,
        scope="instances:write",
        access=Access.TEST_KEY,
        body=CreatePhone,
        reply=PhoneBody,
        status=201,
        is_customer_wide=True,
        takes_idempotency_key=True,
        problems=("phone_exists", "sandbox_refused"),
    ),
    Endpoint(
        method="GET",
        path="/v1/sandbox/phones",
        name="list_sandbox_phones",
        summary="List the simulated phones.",
        handler=list_phones,
        scope="instances:read",
        access=Access.TEST_KEY,
        query=PageQuery,
        reply=PhonePage,
        is_customer_wide=True,
        problems=("bad_cursor",),
    ),
    Endpoint(
        method="POST",
        path="/v1/sandbox/phones/{number}/scan",
        name="scan_with_sandbox_phone",
        summary="Let the phone link an instance: it types the instance's linking code, or scans its QR.",
        handler=scan,
        scope="instances:write",
        access=Access.TEST_KEY,
        body=PhoneAction,
        reply=ScanBody,
        problems=_LINKING,
    ),
    Endpoint(
        method="POST",
        path="/v1/sandbox/phones/{number}/unlink",
        name="unlink_on_sandbox_phone",
        summary="Let the phone remove an instance from its linked devices.",
        handler=unlink,
        scope="instances:write",
        access=Access.TEST_KEY,
        body=PhoneAction,
        reply=None,
        status=204,
        problems=(*_REFUSED, "instance_not_found"),
    ),
    Endpoint(
        method="POST",
        path="/v1/sandbox/faults",
        name="create_sandbox_fault",
        summary="Arm a fault by name on one phone or one instance.",
        handler=arm,
        scope="instances:write",
        access=Access.TEST_KEY,
        body=CreateFault,
        reply=FaultBody,
        status=201,
        is_customer_wide=True,
        takes_idempotency_key=True,
        problems=(*_REFUSED, "instance_not_found"),
    ),
    Endpoint(
        method="GET",
        path="/v1/sandbox/faults",
        name="list_sandbox_faults",
        summary="List the armed faults.",
        handler=list_faults,
        scope="instances:read",
        access=Access.TEST_KEY,
        reply=FaultList,
        is_customer_wide=True,
    ),
    Endpoint(
        method="DELETE",
        path="/v1/sandbox/faults",
        name="delete_sandbox_faults",
        summary="Disarm all faults.",
        handler=disarm_all,
        scope="instances:write",
        access=Access.TEST_KEY,
        reply=None,
        status=204,
        is_customer_wide=True,
    ),
    Endpoint(
        method="DELETE",
        path="/v1/sandbox/faults/{fault_id}",
        name="delete_sandbox_fault",
        summary="Disarm one fault.",
        handler=disarm,
        scope="instances:write",
        access=Access.TEST_KEY,
        reply=None,
        status=204,
        is_customer_wide=True,
        problems=("fault_not_found",),
    ),
)
