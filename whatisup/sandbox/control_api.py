"""The control API: simulated phones, the people who hold them, and faults, as HTTP.

Rule: one table of routes; every request is parsed into a `control` shape before anything is done, and every answer that
is not 2xx is a `control.Error`.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeAlias
from urllib.parse import parse_qs, unquote

import h11
import msgspec
import structlog
import trio

from whatisup import control
from whatisup.protocol.linking_code import parse_code
from whatisup.sandbox import openapi, phone
from whatisup.sandbox.accounts import Account, Companion
from whatisup.sandbox.http import BodyTooLarge, HttpPeer, Reply
from whatisup.sandbox.openapi import Route
from whatisup.sandbox.people import People
from whatisup.sandbox.people_api import PEOPLE_ROUTES
from whatisup.sandbox.refusal import Refused
from whatisup.sandbox.server import Server
from whatisup.sandbox.strikes import arm
from whatisup.sandbox.switches import parse_switches

LINK_S: Final = 20.0
"""How long a scan or a typed code waits for the companion's part."""

_PREFIX: Final = "/sandbox/"
_VERSION: Final = "1"
_DIGITS: Final = re.compile(r"[0-9]{7,15}")
_MAX_TYPING: Final = 2  # codes stretched at once, each in a thread

Params: TypeAlias = Mapping[str, str]
Handler: TypeAlias = Callable[["ControlApi", Params, Any], Awaitable[msgspec.Struct | None]]

log: Final = structlog.get_logger(__name__)


class ControlApi:
    """Answers HTTP requests; one per sandbox."""

    def __init__(self, server: Server, people: People, token: str, *, is_child: bool = False) -> None:
        self._server = server
        self._people = people
        self._token = token
        self._is_child = is_child
        self._typing = trio.CapacityLimiter(_MAX_TYPING)
        self._document = msgspec.json.encode(openapi.document(ROUTES, _VERSION))

    async def serve(self, peer: HttpPeer, request: h11.Request) -> bool:
        """Answer one request; whether another may follow. Raises what a broken connection raises."""
        try:
            body = await peer.body()
        except BodyTooLarge:
            await peer.answer(_error(413, "body_too_large", f"a body has at most {control.MAX_BODY} bytes"))
            return False
        return await peer.answer(await self._answer(request, body))

    async def _answer(self, request: h11.Request, body: bytes) -> Reply:
        try:
            return await self._route(request, body)
        except Refused as refused:
            return _error(refused.status, refused.code, str(refused))
        except Exception:
            # One bad request must not end the sandbox; the log has what happened.
            log.exception("control request failed", method=request.method.decode())
            return _error(500, "internal_error", "a defect of the sandbox; its log says more")

    async def _route(self, request: h11.Request, body: bytes) -> Reply:
        method = request.method.decode()
        target, _, query = request.target.decode("latin-1").partition("?")
        path = unquote(target)
        if path == control.ADMIN_SCAN_PATH and not self._is_child:
            return self._mock_phone(method, body)
        if not path.startswith(_PREFIX):
            return _plain(path)
        found = [(route, match) for route in ROUTES if (match := route.pattern.fullmatch(path))]
        if not found:
            raise Refused(404, "unknown_path", "no such path; /sandbox/openapi.json lists them all")
        for route, match in found:
            if route.method == method:
                return await self._call(route, request, {**_query(query), **match.groupdict()}, body)
        raise Refused(405, "wrong_method", f"this path takes {', '.join(route.method for route, _ in found)}")

    async def _call(self, route: Route, request: h11.Request, params: Params, body: bytes) -> Reply:
        if route.needs_token:
            self._check_token(request)
        if route.handler is _openapi:
            return Reply(200, self._document)
        parsed = None if route.request is None else _parse(route.request, body)
        answer = await route.handler(self, params, parsed)
        return Reply(route.status) if answer is None else Reply(route.status, msgspec.json.encode(answer))

    def _check_token(self, request: h11.Request) -> None:
        given = dict(request.headers).get(b"authorization", b"")
        if not hmac.compare_digest(given, b"Bearer " + self._token.encode()):
            raise Refused(401, "unauthorized", "send Authorization: Bearer <token>; the sandbox printed it at start")

    def _mock_phone(self, method: str, body: bytes) -> Reply:
        """Scan as the Baileys end-to-end suite asks: whose phone it is follows from the companion's push name."""
        if method != "POST":
            raise Refused(405, "wrong_method", "this path takes POST")
        pairing = self._server.pairing
        qr = body.decode("utf-8", "replace")
        pairing.scan(pairing.account_of(pairing.waiting_with(qr)), qr)
        return Reply(204)

    # what the handlers need

    @property
    def server(self) -> Server:
        """The server that is driven."""
        return self._server

    @property
    def people(self) -> People:
        """The people who are told what to do."""
        return self._people

    async def type_code(self, account: Account, code: str) -> Companion:
        """Type a linking code into an account's phone and wait for the link. Raises `Refused`."""
        pairing = self._server.pairing
        try:
            typed_code = parse_code(code)
        except ValueError as error:
            raise Refused(400, "bad_code", str(error)) from None
        attempt = pairing.attempt_for(account.number)
        entropy = self._server.hub.seed.stream("phone", self._server.hub.run, account.number, attempt.ref.hex())
        typed = await trio.to_thread.run_sync(
            phone.type_code, account, typed_code, attempt.hello, attempt.ref, entropy, limiter=self._typing
        )
        return await pairing.typed(attempt, typed).wait(LINK_S)

    def companion(self, params: Params) -> Companion:
        """Return the companion that a path names. Raises `Refused` (404)."""
        account = self.account(params)
        number = params["device"]
        found = None
        if number.isascii() and number.isdigit() and len(number) < 4:
            found = self._server.hub.state.companion(account.number, int(number))
        if found is None:
            raise Refused(404, "unknown_device", f"{account.number} has no companion {number[:8]}")
        return found

    def account(self, params: Params) -> Account:
        """Return the account that a path names. Raises `Refused` (404)."""
        return self._server.pairing.account(params["number"])

    def account_view(self, account: Account) -> control.Account:
        """Return an account as the API shows it."""
        devices = [self._device_view(companion) for companion in self._server.hub.state.companions(account.number)]
        phone_settings = self._people.settings(account.number)
        return control.Account(
            number=account.number,
            lid=account.lid,
            name=account.name,
            created_at=account.created_at,
            devices=devices,
            tenant=account.tenant,
            is_online=phone_settings.is_online,
            persona=phone_settings.persona,
        )

    def _device_view(self, companion: Companion) -> control.Device:
        hub = self._server.hub
        return control.Device(
            device=companion.device,
            jid=str(companion.pn_jid),
            lid=str(companion.lid_jid),
            key_index=companion.key_index,
            registration_id=companion.public.registration_id,
            prekeys=hub.state.count_prekeys(companion.row),
            linked_at=companion.linked_at,
            is_connected=hub.online(*companion.key) is not None,
        )


# handlers


async def _create_account(api: ControlApi, params: Params, request: control.AccountRequest) -> control.Account:
    account = api.server.pairing.create_account(request.number, request.name, tenant=request.tenant)
    if request.persona is not control.Persona.SILENT:
        api.people.set_up(account.number, persona=request.persona)
    return api.account_view(account)


async def _list_accounts(api: ControlApi, params: Params, request: None) -> control.Accounts:
    return control.Accounts([api.account_view(account) for account in api.server.hub.state.accounts()])


async def _get_account(api: ControlApi, params: Params, request: None) -> control.Account:
    return api.account_view(api.account(params))


async def _set_tenant(api: ControlApi, params: Params, request: control.TenantRequest) -> control.Account:
    number = api.account(params).number
    api.server.hub.state.adopt(number, request.tenant)
    account = api.account(params)
    if account.tenant != request.tenant:
        raise Refused(409, "has_tenant", f"{number} belongs to somebody else")
    return api.account_view(account)


async def _scan(api: ControlApi, params: Params, request: control.ScanRequest) -> control.Linked:
    companion = await api.server.pairing.scan(api.account(params), request.qr).wait(LINK_S)
    return control.Linked(companion.number, companion.device)


async def _enter_link_code(api: ControlApi, params: Params, request: control.LinkCodeRequest) -> control.Linked:
    companion = await api.type_code(api.account(params), request.code)
    return control.Linked(companion.number, companion.device)


async def _unlink(api: ControlApi, params: Params, request: control.UnlinkRequest) -> None:
    api.server.hub.unlink(api.companion({**params, "device": str(request.device)}))


async def _get_connection(api: ControlApi, params: Params, request: None) -> control.DeviceConnection:
    companion = api.companion(params)
    hub = api.server.hub
    client, record = hub.online(*companion.key), hub.record(*companion.key)
    connection = None
    if client is not None:
        silent_ms = int((hub.clock.monotonic() - client.last_frame_at) * 1000)
        prologue = client.session.prologue
        connection = control.Connection(
            since=client.since,
            last_frame_at=hub.unix_ms - silent_ms,
            is_active=client.is_active,
            is_half_open=client.is_half_open,
            routing_info_returned=prologue is not None and prologue.routing_info == companion.routing_info,
            client_version=None if client.version is None else str(client.version),
        )
    queued = hub.waiting.count(companion.row)
    return control.DeviceConnection(
        companion.number, companion.device, connection, record.logins, queued, list(record.stanzas)
    )


async def _arm_fault(api: ControlApi, params: Params, request: control.FaultRequest) -> control.Fault:
    hub = api.server.hub
    return arm(hub, api.server.pairing, request).view(hub.clock.monotonic())


async def _list_faults(api: ControlApi, params: Params, request: None) -> control.Faults:
    now = api.server.hub.clock.monotonic()
    return control.Faults([armed.view(now) for armed in api.server.hub.faults.listed(now)])


async def _disarm_fault(api: ControlApi, params: Params, request: None) -> None:
    if not api.server.hub.faults.disarm(params["fault"]):
        raise Refused(404, "unknown_fault", "no armed fault has that id")


async def _disarm_faults(api: ControlApi, params: Params, request: None) -> None:
    number = params.get("number")
    if number is not None and not _DIGITS.fullmatch(number):
        raise Refused(400, "bad_request", "number holds 7 to 15 digits")
    api.server.hub.faults.clear(control.Scope(number))


async def _get_switches(api: ControlApi, params: Params, request: None) -> control.Switches:
    return control.Switches(sorted(api.server.hub.switches))


async def _set_switches(api: ControlApi, params: Params, request: control.Switches) -> control.Switches:
    try:
        api.server.hub.switches = parse_switches(request.names)
    except ValueError as error:
        raise Refused(400, "bad_switches", str(error)) from None
    return await _get_switches(api, params, None)


async def _openapi(api: ControlApi, params: Params, request: None) -> None:
    raise AssertionError("the document is served as it is")


_ACCOUNT: Final = "/sandbox/accounts/{number}"
ROUTES: Final = (
    Route("GET", "/sandbox/openapi.json", "This document", _openapi, needs_token=False),
    Route("GET", "/sandbox/accounts", "List all accounts", _list_accounts, reply=control.Accounts),
    Route(
        "POST",
        "/sandbox/accounts",
        "Create an account with its simulated phone",
        _create_account,
        request=control.AccountRequest,
        reply=control.Account,
        status=201,
        refusals=(409,),
    ),
    Route("GET", _ACCOUNT, "One account with its devices", _get_account, reply=control.Account, refusals=(404,)),
    Route(
        "POST",
        f"{_ACCOUNT}/tenant",
        "Give an account that has no tenant one",
        _set_tenant,
        request=control.TenantRequest,
        reply=control.Account,
        refusals=(404, 409),
    ),
    Route(
        "POST",
        f"{_ACCOUNT}/scan",
        "Let the phone scan a companion's QR, and wait until the companion is linked",
        _scan,
        request=control.ScanRequest,
        reply=control.Linked,
        refusals=(404, 409, 502, 504),
    ),
    Route(
        "POST",
        f"{_ACCOUNT}/link-code",
        "Type the linking code a companion shows, and wait until the companion is linked",
        _enter_link_code,
        request=control.LinkCodeRequest,
        reply=control.Linked,
        refusals=(404, 409, 502, 504),
    ),
    Route(
        "POST",
        f"{_ACCOUNT}/unlink",
        "Remove a companion on the phone",
        _unlink,
        request=control.UnlinkRequest,
        status=204,
        refusals=(404,),
    ),
    Route(
        "GET",
        f"{_ACCOUNT}/devices/{{device}}",
        "A companion's live connection, and its last stanzas without their contents",
        _get_connection,
        reply=control.DeviceConnection,
        refusals=(404,),
    ),
    Route("GET", "/sandbox/faults", "List the faults, spent ones first", _list_faults, reply=control.Faults),
    Route(
        "POST",
        "/sandbox/faults",
        "Arm a fault; live connections in its scope are struck at once",
        _arm_fault,
        request=control.FaultRequest,
        reply=control.Fault,
        status=201,
        refusals=(409,),
    ),
    Route(
        "DELETE",
        "/sandbox/faults",
        "Disarm all faults, or those of one account",
        _disarm_faults,
        status=204,
        refusals=(400,),
        query=("number",),
    ),
    Route("DELETE", "/sandbox/faults/{fault}", "Disarm one fault", _disarm_fault, status=204, refusals=(404,)),
    Route("GET", "/sandbox/switches", "The switches that are on", _get_switches, reply=control.Switches),
    Route(
        "PUT",
        "/sandbox/switches",
        "Turn exactly these switches on",
        _set_switches,
        request=control.Switches,
        reply=control.Switches,
    ),
    *PEOPLE_ROUTES,
)


def _parse(kind: type[msgspec.Struct], body: bytes) -> msgspec.Struct:
    try:
        return msgspec.json.decode(body or b"{}", type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refused(400, "bad_request", str(error)) from None


def _query(text: str) -> dict[str, str]:
    return {name: values[-1] for name, values in parse_qs(text).items()}


def _plain(path: str) -> Reply:
    if path == "/":
        return Reply(200, b'{"name":"whatisup-sandbox"}')
    return _error(404, "unknown_path", "the control API is under /sandbox/, the websocket under /ws/chat")


def _error(status: int, code: str, message: str) -> Reply:
    headers = (("www-authenticate", "Bearer"),) if status == 401 else ()
    return Reply(status, msgspec.json.encode(control.Error(control.ErrorDetail(code, message))), headers=headers)
