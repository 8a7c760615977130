"""The 8-character code: golden values of every stage, both sides, wrong codes, stanzas over the wire."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.playbook import ENTROPY, KEYS, PHONE, UNIX, VECTORS, golden, travel
from whatisup.crypto import hkdf_sha256, x25519
from whatisup.errors import RemoteProtocolError
from whatisup.jid import SERVER, Jid
from whatisup.protocol.linking_code import (
    ALPHABET,
    CompanionFinish,
    CompanionHello,
    LinkingSecret,
    PrimaryHello,
    build_companion_finish,
    build_companion_hello,
    build_linking_ref,
    build_primary_hello,
    build_refresh_code,
    companion_hello,
    derive_key,
    display_code,
    encode_code,
    generate_code,
    is_linkable_phone,
    linking_stage,
    open_bundle,
    parse_code,
    parse_companion_finish,
    parse_companion_hello,
    parse_linking_ref,
    parse_primary_hello,
    salt_of,
    seal_bundle,
    unwrap_ephemeral,
)
from whatisup.protocol.profile import ClientProfile
from whatisup.protocol.stanzas.iq import build_result
from whatisup.wire import Node

FLOW = VECTORS["pairing_code"]["flow"]
CODE = FLOW["code"]
COMPANION, PRIMARY = KEYS["pairing_companion_ephemeral"], KEYS["pairing_primary_ephemeral"]


def flow(name: str) -> bytes:
    return golden("pairing_code", f"flow.{name}")


def scripted(*values: bytes) -> Callable[[int], bytes]:
    """Entropy that gives these values, each asked for with its length."""
    remaining = list(values)

    def take(length: int) -> bytes:
        value = remaining.pop(0)
        assert len(value) == length
        return value

    return take


# The code


@pytest.mark.parametrize("sample", VECTORS["pairing_code"]["crockford"], ids=lambda sample: sample["code"])
def test_encode_code_is_golden(sample: dict[str, str]) -> None:
    assert encode_code(bytes.fromhex(sample["bytes_hex"])) == sample["code"]


def test_alphabet_is_golden() -> None:
    assert FLOW["alphabet"] == ALPHABET


def test_generate_code_takes_five_bytes() -> None:
    assert generate_code(scripted(flow("code_bytes"))) == CODE
    assert display_code(CODE) == FLOW["display"]


@pytest.mark.parametrize("typed", [CODE, FLOW["display"], FLOW["display"].lower(), f" {CODE[:4]} {CODE[4:]} "])
def test_parse_code_reads_what_people_type(typed: str) -> None:
    assert parse_code(typed) == CODE


@pytest.mark.parametrize("typed", ["", "1234567", "123456789", "ABCDEFG0", "ABCDEFGÄ"])
def test_parse_code_refuses(typed: str) -> None:
    with pytest.raises(ValueError, match="8 characters"):
        parse_code(typed)


@pytest.mark.parametrize(
    ("phone", "expected"),
    [("15550001111", True), ("1555000", True), ("155500", False), ("015550001111", False), ("+15550001111", False),
     ("1" * 15, True), ("1" * 16, False), ("١٢٣٤٥٦٧٨", False), ("", False)],
)  # fmt: skip
def test_is_linkable_phone(phone: str, expected: bool) -> None:
    assert is_linkable_phone(phone) is expected


# The golden flow


def test_golden_keys_are_derived() -> None:
    assert FLOW["pbkdf2_iterations"] == 131_072
    assert derive_key(CODE, flow("companion_salt")) == flow("companion_key")
    assert derive_key(CODE, flow("primary_salt")) == flow("primary_key")


def test_golden_ephemeral_keys_are_wrapped_and_unwrapped() -> None:
    companion = LinkingSecret(CODE, flow("companion_key"), flow("companion_salt"), flow("companion_iv"), COMPANION)
    primary = LinkingSecret(CODE, flow("primary_key"), flow("primary_salt"), flow("primary_iv"), PRIMARY)
    assert companion.wrapped_ephemeral == flow("wrapped_companion_ephemeral_pub")
    assert primary.wrapped_ephemeral == flow("wrapped_primary_ephemeral_pub")
    assert salt_of(primary.wrapped_ephemeral) == flow("primary_salt")
    assert unwrap_ephemeral(companion.wrapped_ephemeral, flow("companion_key")) == COMPANION.public
    assert unwrap_ephemeral(primary.wrapped_ephemeral, flow("primary_key")) == PRIMARY.public


def test_golden_shared_secrets() -> None:
    shared = x25519(COMPANION.private, PRIMARY.public)
    assert shared == flow("ephemeral_shared")
    info = b"link_code_pairing_key_bundle_encryption_key"
    assert hkdf_sha256(shared, salt=flow("bundle_salt"), info=info, length=32) == flow("bundle_key")
    identity, account = KEYS["companion_identity"], KEYS["account_identity"]
    assert x25519(identity.private, account.public) == flow("identity_shared")
    assert identity.public + account.public + flow("adv_random") == flow("bundle_plaintext")


def test_golden_bundle_is_sealed() -> None:
    entropy = scripted(flow("adv_random"), flow("bundle_salt"), flow("bundle_nonce"))
    bundle, secret = seal_bundle(
        COMPANION, KEYS["companion_identity"], PRIMARY.public, KEYS["account_identity"].public, entropy
    )
    assert bundle == flow("wrapped_key_bundle")
    assert secret == flow("adv_secret")


def test_golden_bundle_is_opened() -> None:
    opened = open_bundle(
        flow("wrapped_key_bundle"),
        PRIMARY,
        KEYS["account_identity"],
        COMPANION.public,
        KEYS["companion_identity"].public,
    )
    assert opened == flow("adv_secret")


# What can go wrong


def test_derive_makes_everything_fresh() -> None:
    first, second = LinkingSecret.derive(CODE, ENTROPY), LinkingSecret.derive(CODE, ENTROPY)
    assert first.key == derive_key(CODE, first.salt)
    assert len({first.salt, second.salt, first.iv, second.iv}) == 4
    assert first.ephemeral != second.ephemeral
    assert repr(first) == "LinkingSecret(...)"


def test_a_wrong_code_gives_a_wrong_key_and_a_bundle_that_does_not_open() -> None:
    identity = KEYS["companion_identity"]
    wrong = unwrap_ephemeral(flow("wrapped_primary_ephemeral_pub"), derive_key("ZZZZZZZZ", flow("primary_salt")))
    assert wrong != PRIMARY.public
    bundle, _ = seal_bundle(COMPANION, identity, wrong, PHONE.public, ENTROPY)
    with pytest.raises(RemoteProtocolError, match="wrong linking code"):
        open_bundle(bundle, PRIMARY, PHONE, COMPANION.public, identity.public)


@pytest.mark.parametrize("claimed", ["companion", "primary"])
def test_open_bundle_refuses_another_identity(claimed: str) -> None:
    identity, other = KEYS["companion_identity"], KEYS["prekey1"]
    sealed_for = other if claimed == "primary" else PHONE
    bundle, _ = seal_bundle(COMPANION, identity, PRIMARY.public, sealed_for.public, ENTROPY)
    stated = other if claimed == "companion" else identity
    with pytest.raises(RemoteProtocolError, match="other identities"):
        open_bundle(bundle, PRIMARY, PHONE, COMPANION.public, stated.public)


@pytest.mark.parametrize("length", [0, 155, 157])
def test_open_bundle_refuses_another_length(length: int) -> None:
    with pytest.raises(RemoteProtocolError):
        open_bundle(bytes(length), PRIMARY, PHONE, COMPANION.public, KEYS["companion_identity"].public)


def test_seal_bundle_refuses_a_key_that_shares_nothing() -> None:
    with pytest.raises(RemoteProtocolError):
        seal_bundle(COMPANION, KEYS["companion_identity"], bytes(32), PHONE.public, ENTROPY)


def test_unwrap_refuses_another_length() -> None:
    with pytest.raises(RemoteProtocolError):
        unwrap_ephemeral(bytes(79), bytes(32))


# Stanzas

SECRET = LinkingSecret(CODE, flow("companion_key"), flow("companion_salt"), flow("companion_iv"), COMPANION)
HELLO = companion_hello("15550001111", SECRET, KEYS["client_static_noise"].public, ClientProfile())


def test_companion_hello_travels() -> None:
    node = travel(build_companion_hello("4", HELLO))
    assert parse_companion_hello(node) == HELLO
    assert (HELLO.platform_id, HELLO.platform_display, HELLO.should_push) == ("1", "Chrome (Mac OS)", True)
    body = node.children()[0]
    assert body.attrs["jid"] == Jid("15550001111", "s.whatsapp.net")
    nonce = body.child("link_code_pairing_nonce")
    assert nonce is not None
    assert nonce.content == b"\x00"


def test_companion_hello_is_accepted_with_baileys_text_nonce() -> None:
    body = build_companion_hello("4", HELLO).children()[0]
    children = tuple(Node(c.tag, {}, "0") if "nonce" in c.tag else c for c in body.children())
    assert parse_companion_hello(travel(Node("iq", {}, (Node(body.tag, body.attrs, children),)))) == HELLO


def test_linking_ref_travels_as_bytes() -> None:
    node = travel(build_linking_ref(build_companion_hello("4", HELLO), b"123"))
    assert (node.attrs["id"], node.attrs["from"], node.attrs["type"]) == ("4", SERVER, "result")
    assert parse_linking_ref(node) == b"123"


def test_primary_hello_travels() -> None:
    hello = PrimaryHello(flow("wrapped_primary_ephemeral_pub"), PHONE.public, b"ref")
    node = travel(build_primary_hello("5", hello, server_unix=UNIX))
    assert linking_stage(node) == "primary_hello"
    assert parse_primary_hello(node) == hello


def test_refresh_code_travels() -> None:
    assert linking_stage(travel(build_refresh_code("6", server_unix=UNIX))) == "refresh_code"
    assert linking_stage(Node("notification", {"type": "encrypt"})) is None
    assert linking_stage(Node("iq", {"type": "link_code_companion_reg"})) is None


def test_companion_finish_travels() -> None:
    finish = CompanionFinish("15550001111", flow("wrapped_key_bundle"), KEYS["companion_identity"].public, b"ref")
    assert parse_companion_finish(travel(build_companion_finish("7", finish))) == finish


@pytest.mark.parametrize(
    "change",
    [
        CompanionHello("155", HELLO.wrapped_ephemeral, HELLO.noise_public, "1", "Chrome (Mac OS)"),
        CompanionHello("15550001111", b"short", HELLO.noise_public, "1", "Chrome (Mac OS)"),
        CompanionHello("15550001111", HELLO.wrapped_ephemeral, b"short", "1", "Chrome (Mac OS)"),
    ],
)
def test_parse_companion_hello_refuses(change: CompanionHello) -> None:
    with pytest.raises(RemoteProtocolError):
        parse_companion_hello(travel(build_companion_hello("4", change)))


def test_parse_companion_hello_refuses_another_stage() -> None:
    finish = CompanionFinish("15550001111", bytes(156), bytes(32), b"ref")
    with pytest.raises(RemoteProtocolError):
        parse_companion_hello(travel(build_companion_finish("7", finish)))


@pytest.mark.parametrize(
    "answer", [build_result(Node("iq", {"id": "1"})), Node("iq", {}, (Node("link_code_companion_reg"),))]
)
def test_parse_linking_ref_refuses(answer: Node) -> None:
    with pytest.raises(RemoteProtocolError):
        parse_linking_ref(answer)


@given(st.binary(max_size=100), st.binary(max_size=40), st.binary(max_size=5))
def test_parse_primary_hello_of_anything_is_a_value_or_a_protocol_error(
    wrapped: bytes, identity: bytes, ref: bytes
) -> None:
    node = travel(build_primary_hello("5", PrimaryHello(wrapped, identity, ref), server_unix=UNIX))
    is_whole = (len(wrapped), len(identity)) == (80, 32) and bool(ref)
    try:
        parse_primary_hello(node)
    except RemoteProtocolError:
        assert not is_whole
    else:
        assert is_whole
