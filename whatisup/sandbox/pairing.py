"""Linking a companion to a simulated phone, on the server's side: references, scans, linking codes.

    offer      registration accepted: six refs go out, each good for one scan while the connection lives
    scan       a phone scanned a QR: pair-success goes to the connection that waits with its ref
    hello      a companion asks for a linking code; kept by ref and phone for `CODE_S`, whatever becomes of its socket
    typed      the phone typed a code: primary_hello goes to whichever connection has the companion's noise key
    finish     the companion's last word on a code: pair-success follows
    answered   the companion countersigned: it is stored, told to restart (515), and whoever asked learns of it

Rule: a device exists from the moment its countersigned identity was verified and stored, not before.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Final

import trio

from whatisup.crypto import generate_keypair
from whatisup.errors import RemoteProtocolError
from whatisup.protocol.adv import verify_device
from whatisup.protocol.linking_code import (
    CompanionHello,
    build_linking_ref,
    build_primary_hello,
    parse_companion_finish,
    parse_companion_hello,
)
from whatisup.protocol.outcomes import build_stream_end, build_stream_error
from whatisup.protocol.pairing import (
    PairSuccess,
    build_pair_device,
    build_pair_success,
    parse_pair_device_sign,
    parse_qr,
)
from whatisup.protocol.payloads import Registration
from whatisup.protocol.stanzas.iq import build_error, build_result, parse_refusal
from whatisup.sandbox import phone
from whatisup.sandbox.accounts import Account, Companion, lid_from, number_and_lid_of_name, number_from
from whatisup.sandbox.hub import Client, Hub, Stage
from whatisup.sandbox.phone import TypedCode
from whatisup.sandbox.refusal import Refused
from whatisup.wire import Node, proto

REFS: Final = 6
OFFER_S: Final = 165.0
"""How long references are good: what clients count on (60 s and 5 times 20 s) and a little."""
CODE_S: Final = 180.0
"""How long a linking code is good."""
MAX_ATTEMPTS: Final = 10_000
"""How many linking codes are waited for at once."""
MAX_ACCOUNTS: Final = 100_000

_DISPLAY: Final = re.compile(r"[^()]{1,50} \([^()]{1,50}\)")


class Outcome:
    """How a link went, for the one who waits to hear it."""

    __slots__ = ("_done", "_value")

    def __init__(self) -> None:
        self._done = trio.Event()
        self._value: Companion | Refused | None = None

    def settle(self, value: Companion | Refused) -> None:
        """Say how it went; only the first word counts."""
        if self._value is None:
            self._value = value
            self._done.set()

    async def wait(self, timeout_s: float) -> Companion:
        """Wait for the device. Raises `Refused` when it went wrong, or did not end in time."""
        with trio.move_on_after(timeout_s):
            await self._done.wait()
        if isinstance(self._value, Companion):
            return self._value
        raise self._value or Refused(504, "companion_silent", "the companion did not finish the pairing in time")


@dataclass(slots=True)
class Link:
    """A pair-success that waits for the companion's answer."""

    account: Account
    device: int
    key_index: int
    envelope: bytes
    request_id: str
    outcome: Outcome


@dataclass(slots=True)
class Attempt:
    """A linking code that a companion shows. `expires_at` in monotonic seconds."""

    ref: bytes
    account: Account
    hello: CompanionHello
    expires_at: float
    typed: TypedCode | None = None
    outcome: Outcome = field(default_factory=Outcome)


class Pairing:
    """Owns everything between a registration and a linked device."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._offers: dict[str, Client] = {}
        self._waiting: dict[bytes, Client] = {}
        self._links: dict[int, Link] = {}
        self._attempts: dict[bytes, Attempt] = {}
        self._latest: dict[str, bytes] = {}

    # accounts

    def create_account(
        self, number: str | None, name: str | None, *, lid: str | None = None, tenant: str | None = None
    ) -> Account:
        """Create an account with its phone. Raises `Refused` (409) where the number is taken."""
        hub = self._hub
        if hub.state.count_accounts() >= MAX_ACCOUNTS:
            raise Refused(409, "too_many_accounts", f"a sandbox holds at most {MAX_ACCOUNTS} accounts")
        wanted = number or self._next_number()
        entropy = hub.seed.stream("account", wanted)
        identity = generate_keypair(entropy)
        raw_id, registration_id = int.from_bytes(entropy(4), "big"), int.from_bytes(entropy(2), "big") % 16380 + 1
        hidden = lid or lid_from(entropy(8))
        account = Account(wanted, hidden, name, identity, raw_id, registration_id, hub.unix_ms, tenant)
        while not hub.state.add_account(account):
            if hub.state.account(wanted) is not None:
                raise Refused(409, "number_taken", f"there is an account {wanted} already")
            account = replace(account, lid=lid_from(entropy(8)))
        return self.account(wanted)

    def _next_number(self) -> str:
        while True:
            count = self._hub.state.count("numbers")
            number = number_from(self._hub.seed.stream("number", count)(8))
            if self._hub.state.account(number) is None:
                return number

    def account(self, number: str) -> Account:
        """Return an account. Raises `Refused` (404)."""
        account = self._hub.state.account(number)
        if account is None:
            raise Refused(404, "unknown_number", f"there is no account {number}")
        return account

    def account_of(self, client: Client) -> Account:
        """Return the account that a newcomer's push name stands for (its identity key where it has none)."""
        identity = b"" if client.registration is None else client.registration.identity.identity
        number, lid = number_and_lid_of_name(client.push_name.encode() or identity)
        return self._hub.state.account(number) or self.create_account(number, client.push_name or None, lid=lid)

    # by QR

    def offer(self, client: Client, registration: Registration, push_name: str) -> None:
        """Accept a registration: send the references, and what a phone typed while the companion was away."""
        client.stage, client.registration, client.push_name = Stage.PAIRING, registration, push_name
        client.refs = tuple(f"2@{base64.b64encode(client.entropy(33)).decode()}" for _ in range(REFS))
        self._offers.update(dict.fromkeys(client.refs, client))
        self._waiting[client.noise_public] = client
        self._hub.send(client, build_pair_device(client.new_id(), client.refs))
        for attempt in self._attempts.values():
            if attempt.typed is not None and attempt.hello.noise_public == client.noise_public:
                self._send_primary_hello(client, attempt.typed)

    def waiting_with(self, qr: str) -> Client:
        """Return the connection that a QR stands for. Raises `Refused`: 400 for no QR, 404 for a stale one, 409."""
        try:
            code = parse_qr(qr)
        except RemoteProtocolError as error:
            raise Refused(400, "bad_qr", str(error)) from None
        client = self._offers.get(code.ref)
        if client is None or client.ending is not None or client.registration is None:
            raise Refused(404, "unknown_ref", "no companion waits with this QR: it was used, it expired or it is gone")
        if (code.noise_public, code.identity_public) != (client.noise_public, client.registration.identity.identity):
            raise Refused(409, "qr_mismatch", "the QR does not carry the keys of the companion that waits with it")
        return client

    def scan(self, account: Account, qr: str) -> Outcome:
        """Let an account's phone scan a QR. Raises `Refused`."""
        client = self.waiting_with(qr)
        outcome = Outcome()
        self._begin(client, account, parse_qr(qr).adv_secret, outcome)
        return outcome

    # by linking code

    def hello(self, client: Client, request: Node) -> Node:
        """Answer a companion that shows a linking code. Raises `RemoteProtocolError`."""
        hello = parse_companion_hello(request)
        if hello.noise_public != client.noise_public or not _DISPLAY.fullmatch(hello.platform_display):
            return build_error(request, 400)
        account = self._hub.state.account(hello.phone)
        if account is None:
            return build_error(request, 404)
        if len(self._attempts) >= MAX_ATTEMPTS:
            return build_error(request, 429)
        ref = b"2@" + base64.b64encode(client.entropy(33))
        self._attempts.pop(self._latest.get(account.number, b""), None)
        expires_at = self._hub.clock.monotonic() + CODE_S
        self._attempts[ref] = Attempt(ref, account, hello, expires_at)
        self._latest[account.number] = ref
        return build_linking_ref(request, ref)

    def attempt_for(self, number: str) -> Attempt:
        """Return the linking code that a phone is asked for. Raises `Refused` (404)."""
        attempt = self._attempts.get(self._latest.get(number, b""))
        if attempt is None:
            raise Refused(404, "no_code_expected", f"no companion asks to be linked to {number}, or no more")
        return attempt

    def typed(self, attempt: Attempt, typed: TypedCode) -> Outcome:
        """Bring what the phone made of a code to the companion; now, or when it is back."""
        attempt.typed, attempt.outcome = typed, Outcome()
        client = self._waiting.get(attempt.hello.noise_public)
        if client is not None:
            self._send_primary_hello(client, typed)
        return attempt.outcome

    def _send_primary_hello(self, client: Client, typed: TypedCode) -> None:
        self._hub.send(client, build_primary_hello(client.new_id(), typed.hello, server_unix=self._hub.unix))

    def finish(self, client: Client, request: Node) -> Node | None:
        """Answer a companion's last word on a code; pair-success follows at once. Raises `RemoteProtocolError`."""
        finish = parse_companion_finish(request)
        attempt, registration = self._attempts.get(finish.ref), client.registration
        if attempt is None or attempt.typed is None or registration is None:
            return build_error(request, 404)
        try:
            adv_secret = attempt.typed.adv_secret(finish)
        except RemoteProtocolError:
            attempt.typed = None
            attempt.outcome.settle(Refused(409, "wrong_code", "the companion shows another code"))
            return build_error(request, 400)
        if finish.companion_identity != registration.identity.identity:
            return build_error(request, 400)
        self._hub.send(client, build_result(request))
        del self._attempts[attempt.ref]
        try:
            self._begin(client, attempt.account, adv_secret, attempt.outcome)
        except Refused as refused:
            attempt.outcome.settle(refused)
        return None

    # both

    def _begin(self, client: Client, account: Account, adv_secret: bytes, outcome: Outcome) -> None:
        hub, registration = self._hub, client.registration
        if registration is None or client.serial in self._links:
            raise Refused(409, "already_linking", "a phone is linking this companion already")
        reserved = [link.device for link in self._links.values() if link.account.number == account.number]
        device = hub.state.free_device(account.number, reserved)
        if device is None:
            raise Refused(409, "too_many_devices", "the account has all the companions it can have")
        key_index = hub.state.next_key_index(account.number)
        envelope = phone.sign_companion(
            account, registration.identity.identity, adv_secret, key_index, hub.unix, client.entropy
        )
        self._withdraw(client)
        link = Link(account, device, key_index, envelope, client.new_id(), outcome)
        self._links[client.serial] = link
        jid, lid = account.pn_jid.with_device(device), account.lid_jid.with_device(device)
        success = PairSuccess(envelope, jid, lid, phone.PLATFORM, server_unix=hub.unix)
        hub.send(client, build_pair_success(link.request_id, success))

    def answered(self, client: Client, answer: Node) -> None:
        """Take a companion's answer to pair-success; answers to anything else mean nothing."""
        link = self._links.get(client.serial)
        if link is None or answer.attrs.get("id") != link.request_id:
            return
        del self._links[client.serial]
        try:
            companion = self._verified(client, link, answer)
        except RemoteProtocolError as error:
            link.outcome.settle(Refused(502, "companion_refused", f"the companion did not accept the link: {error}"))
            self._hub.end(client)
            return
        stored = self._hub.state.link(companion)
        self._hub.announce_link(stored)
        self._hub.end(client, build_stream_error(515))
        link.outcome.settle(stored)

    def _verified(self, client: Client, link: Link, answer: Node) -> Companion:
        refusal = parse_refusal(answer)
        if refusal is not None:
            raise RemoteProtocolError(f"it answered {refusal.code} {refusal.text}")
        reply, key_index = parse_pair_device_sign(answer)
        if client.registration is None or key_index != link.key_index:
            raise RemoteProtocolError("it named another key index")
        public = client.registration.identity
        signed_identity = verify_device(reply, public.identity, link.account.identity.public)
        if _details(signed_identity) != _offered_details(link.envelope):
            raise RemoteProtocolError("it signed another identity")
        return Companion(
            row=0,
            number=link.account.number,
            lid=link.account.lid,
            device=link.device,
            key_index=key_index,
            noise_public=client.noise_public,
            public=public,
            signed_identity=signed_identity,
            routing_info=client.entropy(12),
            linked_at=self._hub.unix_ms,
        )

    # endings

    def expire(self, client: Client) -> None:
        """Withdraw the references and end the connection, as the server does when nobody scanned in time."""
        self._withdraw(client)
        self._hub.end(client, build_stream_end())

    def forget(self, client: Client) -> None:
        """Drop what hung on a connection that is gone; linking codes do not."""
        self._withdraw(client)
        if self._waiting.get(client.noise_public) is client:
            del self._waiting[client.noise_public]
        link = self._links.pop(client.serial, None)
        if link is not None:
            link.outcome.settle(Refused(502, "companion_gone", "the companion went away before it was linked"))

    def tick(self, clients: Iterable[Client], now: float) -> None:
        """Expire references and linking codes whose time is over; `now` in monotonic seconds."""
        for client in clients:
            if client.stage is Stage.PAIRING and client.refs and now - client.opened_at > OFFER_S:
                self.expire(client)
        for attempt in [attempt for attempt in self._attempts.values() if attempt.expires_at <= now]:
            del self._attempts[attempt.ref]
            attempt.outcome.settle(Refused(504, "companion_silent", "the linking code expired"))
        for number in [number for number, ref in self._latest.items() if ref not in self._attempts]:
            del self._latest[number]

    def _withdraw(self, client: Client) -> None:
        for ref in client.refs:
            self._offers.pop(ref, None)
        client.refs = ()


def _details(signed_identity: bytes) -> tuple[bytes, bytes]:
    signed = proto.parse(proto.ADVSignedDeviceIdentity, signed_identity)
    return signed.details, signed.accountSignature


def _offered_details(envelope: bytes) -> tuple[bytes, bytes]:
    return _details(proto.parse(proto.ADVSignedDeviceIdentityHMAC, envelope).details)
