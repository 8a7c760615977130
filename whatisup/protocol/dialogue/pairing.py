"""Getting linked: QR codes in rotation, a linking code beside them, and the phone's proof at the end of either.

Rule: nothing secret outlives the pairing, and what the server claims is believed only when the proof holds.

Source: WhatsApp Web; QR timing as Baileys, linking code and refusals as whatsmeow does them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Final

from whatisup.crypto import Entropy, constant_time_equal
from whatisup.errors import LocalProtocolError, RemoteProtocolError
from whatisup.lifecycle import Trigger
from whatisup.protocol.adv import HMAC_MISMATCH, PairingRefused, SignedDevice, verify_pairing
from whatisup.protocol.credentials import Account, Credentials
from whatisup.protocol.dialogue.exchange import Exchange, as_is
from whatisup.protocol.dialogue.qr_rotation import QrRotation
from whatisup.protocol.events import (
    AdvSecretAgreed,
    LinkingCodeAccepted,
    LinkingCodeRefreshWanted,
    LinkingCodeRefused,
    Paired,
    PairingFailed,
    PairingOffered,
    PrimaryHelloReceived,
    QrIssued,
    RefsExhausted,
)
from whatisup.protocol.linking_code import (
    CompanionFinish,
    LinkingSecret,
    PrimaryHello,
    build_companion_finish,
    build_companion_hello,
    companion_hello,
    is_linkable_phone,
    linking_stage,
    parse_linking_ref,
    parse_primary_hello,
    salt_of,
    seal_bundle,
    unwrap_ephemeral,
)
from whatisup.protocol.pairing import (
    QrCode,
    build_pair_device_sign,
    build_pairing_refusal,
    build_qr,
    parse_pair_device,
    parse_pair_success,
)
from whatisup.protocol.profile import ClientProfile
from whatisup.protocol.stanzas.ack import build_ack
from whatisup.protocol.stanzas.iq import Refusal, build_result
from whatisup.wire import Node

MAX_TRIES: Final = 5
"""How often the phone may answer one linking code: each costs us a slow derivation. Ours."""

MAX_OFFERS: Final = 8
"""How often one connection may offer refs: each becomes an event that is kept. Real servers offer once. Ours."""

_MAX_SECRETS: Final = 1 + MAX_TRIES  # the one in the QR code, and one for each time a code was typed

_SILENCE: Final = Refusal(408, "no-answer")
_OVERTAKEN: Final = Refusal(409, "already-paired")


@dataclass(slots=True, repr=False)
class _Attempt:
    """One linking code: what we keep of it until the phone has answered."""

    phone: str
    secret: LinkingSecret
    ref: bytes | None = None
    hellos: list[PrimaryHello] = field(default_factory=list)  # waiting for their stretched key, oldest first
    tries: int = 0


class Pairing:
    """One registration connection's way to an account."""

    __slots__ = (
        "_attempt",
        "_credentials",
        "_entropy",
        "_exchange",
        "_is_over",
        "_offers",
        "_profile",
        "_rotation",
        "_secrets",
    )

    def __init__(self, exchange: Exchange, credentials: Credentials, profile: ClientProfile, entropy: Entropy) -> None:
        self._exchange = exchange
        self._credentials = credentials
        self._profile = profile
        self._entropy = entropy
        self._rotation: QrRotation | None = None
        self._attempt: _Attempt | None = None
        self._is_over = False
        self._offers = 0
        # The ADV secrets a phone may have by now, newest first: a linking code replaces the one in the QR on show,
        # and a wrong code must not make that QR useless.
        self._secrets = [credentials.adv_secret]

    @property
    def is_offered(self) -> bool:
        """Whether the server offers pairing, so that a linking code can be requested."""
        return self._rotation is not None and not self._is_over

    @property
    def deadline_at(self) -> float | None:
        """When the QR code changes, in monotonic seconds."""
        rotation = self._rotation
        return None if self._is_over or rotation is None or rotation.ref is None else rotation.deadline_at

    # QR codes

    def offered(self, request: Node) -> None:
        """`pair-device` arrived: confirm it and show the first code."""
        refs = parse_pair_device(request)
        if self._is_over:
            raise RemoteProtocolError("pair-device after pair-success")
        if self._offers >= MAX_OFFERS:
            raise RemoteProtocolError("pair-device again and again")
        self._offers += 1
        self._exchange.send(build_result(request))
        if self._rotation is None:
            self._exchange.emit(PairingOffered())
        self._rotation = QrRotation(refs, self._exchange.now)
        self._show(self._rotation)

    def handle_timer(self, now: float) -> None:
        """Show the next code when the last has expired."""
        rotation = self._rotation
        if rotation is not None and not self._is_over and rotation.advance(now):
            self._show(rotation)

    def _show(self, rotation: QrRotation) -> None:
        ref, keys = rotation.ref, self._credentials
        if ref is None:
            self._exchange.emit(RefsExhausted())
            return
        code = QrCode(ref, keys.noise.public, keys.identity.public, keys.adv_secret, str(self._profile.client_type))
        self._exchange.emit(QrIssued(build_qr(code), rotation.deadline_at - self._exchange.now))

    # The linking code

    def request_code(self, phone: str, secret: LinkingSecret) -> None:
        """Ask the server to announce our code to the phone (digits); replaces an earlier code.

        Raises `LocalProtocolError` before `pair-device`, and for what is no phone number.
        """
        if self._is_over:
            self._refused(_OVERTAKEN)
            return
        if self._rotation is None:
            raise LocalProtocolError("a linking code can be requested once pairing is offered")
        if not is_linkable_phone(phone):
            raise LocalProtocolError("a linking code needs an international number in digits")
        attempt = self._attempt = _Attempt(phone, secret)
        hello = companion_hello(phone, secret, self._credentials.noise.public, self._profile)
        self._exchange.ask(
            partial(build_companion_hello, hello=hello),
            parse_linking_ref,
            partial(self._announced, attempt),
            lost=self._linking_lost,
        )

    def _announced(self, attempt: _Attempt, ref: bytes | Refusal | None) -> None:
        if attempt is not self._attempt:
            return
        if isinstance(ref, bytes):
            attempt.ref = ref
            self._exchange.emit(LinkingCodeAccepted(ref))
        else:
            self._attempt = None
            self._refused(ref)

    def noticed(self, notification: Node) -> bool:
        """Take a notification that speaks of linking codes; False where it does not."""
        stage = linking_stage(notification)
        if stage not in ("primary_hello", "refresh_code"):
            return False
        ack = build_ack(notification)
        try:
            if stage == "primary_hello":
                self._primary_hello(notification, ack)
            else:
                self._exchange.emit(LinkingCodeRefreshWanted(replies=(ack,)))
        except RemoteProtocolError as error:
            # Nothing came of it that would have to be committed, and unacknowledged it would come again.
            self._exchange.send(ack)
            self._exchange.drop(str(error))
        return True

    def _primary_hello(self, notification: Node, ack: Node) -> None:
        hello, attempt = parse_primary_hello(notification), self._attempt
        if self._is_over or attempt is None or attempt.ref is None or not constant_time_equal(attempt.ref, hello.ref):
            raise RemoteProtocolError("primary_hello for a linking code that is not ours")
        if attempt.tries >= MAX_TRIES:
            raise RemoteProtocolError("primary_hello again and again for one linking code")
        attempt.tries += 1
        attempt.hellos.append(hello)
        self._exchange.emit(PrimaryHelloReceived(salt_of(hello.wrapped_ephemeral), replies=(ack,)))

    def finish_code(self, primary_key: bytes) -> None:
        """Agree on the new ADV secret; `primary_key` (32 bytes) is our code stretched with the oldest hello's salt.

        Nothing happens where a new code, or a QR code, was faster than the stretching.
        """
        attempt = self._attempt
        if attempt is None or attempt.ref is None or not attempt.hellos:
            return
        hello = attempt.hellos.pop(0)
        identity = self._credentials.identity
        try:
            primary_ephemeral = unwrap_ephemeral(hello.wrapped_ephemeral, primary_key)
            bundle, adv_secret = seal_bundle(
                attempt.secret.ephemeral, identity, primary_ephemeral, hello.primary_identity, self._entropy
            )
        except RemoteProtocolError as error:
            self._exchange.drop(str(error))
            self._refused(Refusal(400, "unusable-key"))
            return
        self._credentials = self._credentials.with_adv_secret(adv_secret)
        self._secrets = [adv_secret, *self._secrets[: _MAX_SECRETS - 1]]
        finish = CompanionFinish(attempt.phone, bundle, identity.public, attempt.ref)
        reply = self._exchange.prepare(
            partial(build_companion_finish, finish=finish), as_is, self._finished, lost=self._linking_lost
        )
        self._exchange.emit(AdvSecretAgreed(adv_secret, replies=(reply,)))

    def _finished(self, answer: Node | Refusal | None) -> None:
        if not self._is_over and not isinstance(answer, Node):
            self._refused(answer)

    def _linking_lost(self, _trigger: Trigger) -> None:
        if not self._is_over:
            self._refused(None)

    def _refused(self, refusal: Refusal | None) -> None:
        refusal = refusal or _SILENCE
        self._exchange.emit(LinkingCodeRefused(refusal.code, refusal.text))

    # The proof

    def succeeded(self, request: Node) -> None:
        """`pair-success` arrived: check the proof and report the account, or refuse it; either ends the pairing."""
        if self._is_over:
            raise RemoteProtocolError("pair-success again")
        self._is_over = True
        self._attempt = None
        try:
            account, reply, server_unix = self._verify(request)
        except PairingRefused as refused:
            reply = build_pairing_refusal(request, refused)
            self._exchange.emit(PairingFailed(refused.code, refused.text, replies=(reply,)))
        else:
            self._exchange.emit(Paired(account, server_unix, replies=(reply,)))

    def _verify(self, request: Node) -> tuple[Account, Node, int | None]:
        success = parse_pair_success(request)
        device = self._verify_device(success.device_identity)
        account = Account(
            success.jid,
            success.lid,
            device.signed_identity,
            device.primary_identity,
            device.key_index,
            success.platform,
            success.business_name,
        )
        return account, build_pair_device_sign(request, device.reply, device.key_index), success.server_unix

    def _verify_device(self, device_identity: bytes) -> SignedDevice:
        identity = self._credentials.identity
        *newer, oldest = self._secrets
        for adv_secret in newer:
            try:
                return verify_pairing(device_identity, identity, adv_secret, self._entropy)
            except PairingRefused as refused:
                if refused.text != HMAC_MISMATCH:
                    raise
        return verify_pairing(device_identity, identity, oldest, self._entropy)
