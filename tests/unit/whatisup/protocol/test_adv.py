"""The proof of a link: golden values of both kinds, both sides, and every way it can be false."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from tests.playbook import CREDENTIALS, ENTROPY, KEYS, PHONE, UNIX, VECTORS, golden
from whatisup.crypto import hmac_sha256, xeddsa_sign, xeddsa_verify
from whatisup.protocol.adv import (
    ACCOUNT_PREFIX,
    HOSTED_PREFIX,
    PairingRefused,
    is_device_of,
    sign_device,
    verify_device,
    verify_pairing,
)
from whatisup.wire import proto

COMPANION = KEYS["companion_identity"]
SECRET = golden("adv", "adv_secret")
ENVELOPE = golden("adv", "signed_device_identity_hmac")
SIGNATURE = golden("adv", "baileys_device_signature")


def proof(*, is_hosted: bool = False, key_index: int = 3) -> bytes:
    return sign_device(
        PHONE,
        CREDENTIALS.identity.public,
        CREDENTIALS.adv_secret,
        raw_id=5,
        key_index=key_index,
        now=UNIX,
        entropy=ENTROPY,
        is_hosted=is_hosted,
    )


def refusal_of(envelope: bytes, secret: bytes = CREDENTIALS.adv_secret) -> tuple[int, str]:
    with pytest.raises(PairingRefused) as caught:
        verify_pairing(envelope, CREDENTIALS.identity, secret, ENTROPY)
    return caught.value.code, caught.value.text


def sealed_again(signed: proto.ADVSignedDeviceIdentity) -> bytes:
    details = signed.SerializeToString()
    hmac = hmac_sha256(CREDENTIALS.adv_secret, details)
    return proto.ADVSignedDeviceIdentityHMAC(details=details, hmac=hmac).SerializeToString()


def inner(envelope: bytes) -> proto.ADVSignedDeviceIdentity:
    sealed = proto.ADVSignedDeviceIdentityHMAC.FromString(envelope)
    return proto.ADVSignedDeviceIdentity.FromString(sealed.details)


def test_golden_envelope_is_accepted_and_countersigned() -> None:
    device = verify_pairing(ENVELOPE, COMPANION, SECRET, os.urandom)
    assert device.primary_identity == KEYS["account_identity"].public
    assert device.key_index == int(VECTORS["adv"]["reply_key_index"])
    # All but the 64 bytes of our own, randomised signature.
    assert device.reply[:-64] == golden("adv", "baileys_reply_device_identity")[:-64]
    assert device.signed_identity[:-64] == golden("adv", "account_with_signature_key")[:-64]
    assert xeddsa_verify(COMPANION.public, golden("adv", "device_signed_message"), device.reply[-64:])
    assert device.signed_identity[-64:] == device.reply[-64:]


def test_golden_intermediate_values() -> None:
    assert hmac_sha256(SECRET, golden("adv", "signed_device_identity_from_phone")) == golden("adv", "hmac")
    details = golden("adv", "device_identity_details")
    assert ACCOUNT_PREFIX + details + COMPANION.public == golden("adv", "account_signed_message")
    assert xeddsa_verify(COMPANION.public, golden("adv", "device_signed_message"), SIGNATURE)


def test_golden_hosted_envelope_is_accepted() -> None:
    envelope = golden("adv", "hosted.signed_device_identity_hmac")
    assert golden("adv", "hosted.hmac_input_prefix") == HOSTED_PREFIX
    device = verify_pairing(envelope, COMPANION, SECRET, os.urandom)
    assert inner(envelope).details == golden("adv", "hosted.device_identity_details")
    # A hosted account changes what the phone signs, never what the device signs.
    message = b"\x06\x01" + inner(envelope).details + COMPANION.public + KEYS["account_identity"].public
    assert xeddsa_verify(COMPANION.public, message, device.reply[-64:])


def test_golden_reply_is_accepted_by_the_phone() -> None:
    reply, account = golden("adv", "baileys_reply_device_identity"), KEYS["account_identity"].public
    assert verify_device(reply, COMPANION.public, account) == golden("adv", "account_with_signature_key")


@pytest.mark.parametrize("is_hosted", [False, True])
def test_both_sides_agree(is_hosted: bool) -> None:
    device = verify_pairing(proof(is_hosted=is_hosted), CREDENTIALS.identity, CREDENTIALS.adv_secret, ENTROPY)
    assert device.key_index == 3
    kept = verify_device(device.reply, CREDENTIALS.identity.public, PHONE.public)
    assert kept == device.signed_identity


def test_phone_accepts_a_reply_that_still_has_the_account_key() -> None:
    device = verify_pairing(proof(), CREDENTIALS.identity, CREDENTIALS.adv_secret, ENTROPY)
    assert verify_device(device.signed_identity, CREDENTIALS.identity.public, PHONE.public) == device.signed_identity


def test_another_secret_is_an_hmac_mismatch() -> None:
    assert refusal_of(proof(), bytes(32)) == (401, "hmac-mismatch")


def test_a_hosted_proof_without_its_mark_is_an_hmac_mismatch() -> None:
    sealed = proto.ADVSignedDeviceIdentityHMAC.FromString(proof(is_hosted=True))
    sealed.ClearField("accountType")
    assert refusal_of(sealed.SerializeToString()) == (401, "hmac-mismatch")


def test_a_signature_for_another_device_is_a_mismatch() -> None:
    signed = inner(proof())
    message = ACCOUNT_PREFIX + signed.details + CREDENTIALS.noise.public
    signed.accountSignature = xeddsa_sign(PHONE.private, message, ENTROPY)
    assert refusal_of(sealed_again(signed)) == (401, "signature-mismatch")


def test_a_signature_under_the_wrong_prefix_is_a_mismatch() -> None:
    signed = inner(proof())
    message = HOSTED_PREFIX + signed.details + CREDENTIALS.identity.public
    signed.accountSignature = xeddsa_sign(PHONE.private, message, ENTROPY)
    assert refusal_of(sealed_again(signed)) == (401, "signature-mismatch")


@pytest.mark.parametrize(
    ("field", "value"),
    [("accountSignatureKey", bytes(31)), ("accountSignature", bytes(63)), ("details", b"\xff")],
)
def test_a_part_of_another_length_is_an_internal_error(field: str, value: bytes) -> None:
    signed = inner(proof())
    setattr(signed, field, value)
    assert refusal_of(sealed_again(signed)) == (500, "internal-error")


@pytest.mark.parametrize("envelope", [b"\xff\xff", b"\x0a\x05abc"])
def test_an_unreadable_envelope_is_an_internal_error(envelope: bytes) -> None:
    assert refusal_of(envelope) == (500, "internal-error")


def test_phone_refuses_a_false_device_signature() -> None:
    device = verify_pairing(proof(), CREDENTIALS.identity, CREDENTIALS.adv_secret, ENTROPY)
    with pytest.raises(PairingRefused, match="signature-mismatch"):
        verify_device(device.reply, CREDENTIALS.noise.public, PHONE.public)


@pytest.mark.parametrize("field", ["details", "accountSignature"])
def test_phone_refuses_a_reply_without(field: str) -> None:
    device = verify_pairing(proof(), CREDENTIALS.identity, CREDENTIALS.adv_secret, ENTROPY)
    signed = proto.ADVSignedDeviceIdentity.FromString(device.reply)
    signed.ClearField(field)
    with pytest.raises(PairingRefused):
        verify_device(signed.SerializeToString(), CREDENTIALS.identity.public, PHONE.public)


# Devices of others


@pytest.mark.parametrize("is_hosted", [False, True])
def test_a_companion_is_a_device_of_its_account(is_hosted: bool) -> None:
    identity = CREDENTIALS.identity
    device = verify_pairing(proof(is_hosted=is_hosted), identity, CREDENTIALS.adv_secret, ENTROPY)
    assert is_device_of(device.signed_identity, identity.public, PHONE.public)
    assert is_device_of(device.signed_identity, identity.public, None)
    # Without the account's key inside, it must be known from elsewhere.
    assert is_device_of(device.reply, identity.public, PHONE.public)
    assert not is_device_of(device.reply, identity.public, None)


def test_the_golden_companion_is_a_device_of_its_account() -> None:
    signed, account = golden("adv", "account_with_signature_key"), KEYS["account_identity"].public
    assert is_device_of(signed, COMPANION.public, account)


def test_a_device_of_another_account_is_none_of_this() -> None:
    signed = verify_pairing(proof(), CREDENTIALS.identity, CREDENTIALS.adv_secret, ENTROPY).signed_identity
    other = KEYS["account_identity"].public
    assert not is_device_of(signed, CREDENTIALS.identity.public, other)
    assert not is_device_of(signed, COMPANION.public, PHONE.public)
    assert not is_device_of(b"garbage", CREDENTIALS.identity.public, PHONE.public)
    assert not is_device_of(b"", CREDENTIALS.identity.public, PHONE.public)


@pytest.mark.parametrize("field", ["details", "accountSignature", "deviceSignature", "accountSignatureKey"])
@pytest.mark.parametrize("change", [lambda value: b"", lambda value: bytes((value[0] ^ 1,)) + value[1:]])
def test_every_part_of_a_devices_proof_counts(field: str, change: Callable[[bytes], bytes]) -> None:
    kept = verify_pairing(proof(), CREDENTIALS.identity, CREDENTIALS.adv_secret, ENTROPY).signed_identity
    signed = proto.ADVSignedDeviceIdentity.FromString(kept)
    setattr(signed, field, change(getattr(signed, field)))
    assert not is_device_of(signed.SerializeToString(), CREDENTIALS.identity.public, None)
