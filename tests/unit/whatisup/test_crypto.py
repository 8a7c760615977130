"""The primitives against published values, and what malformed input of a peer turns into."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from whatisup.crypto import (
    AuthenticationFailed,
    KeyPair,
    aes_cbc_decrypt,
    aes_cbc_encrypt,
    aes_ctr,
    aes_gcm_decrypt,
    aes_gcm_encrypt,
    constant_time_equal,
    generate_keypair,
    hkdf_sha256,
    hmac_sha256,
    keypair_from_private,
    pbkdf2_sha256,
    x25519,
    xeddsa_sign,
    xeddsa_verify,
)
from whatisup.errors import RemoteProtocolError

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "transport.json").read_text("utf-8"))
P = 2**255 - 19  # the field of Curve25519
SMALL_ORDER = [bytes(32), b"\1" + bytes(31), (P - 1).to_bytes(32, "little"), P.to_bytes(32, "little")]


def unhex(text):
    return bytes.fromhex(text)


@pytest.mark.parametrize("name", VECTORS["keys"])
def test_keypair_from_private_gives_the_public_key(name):
    pair = VECTORS["keys"][name]
    assert keypair_from_private(unhex(pair["priv"])) == KeyPair(unhex(pair["priv"]), unhex(pair["pub"]))


def test_keypair_from_private_clamps():
    pair = keypair_from_private(b"\xff" * 32)
    assert pair.private == b"\xf8" + b"\xff" * 30 + b"\x7f"
    assert keypair_from_private(pair.private) == pair


def test_keypair_repr_hides_the_private_key():
    pair = generate_keypair(os.urandom)
    assert pair.private.hex() not in repr(pair)
    assert repr(pair.private) not in repr(pair)
    assert pair.public.hex() in repr(pair)


def test_generate_keypair_uses_the_given_entropy():
    asked = []

    def entropy(length):
        asked.append(length)
        return b"\x07" * length

    assert generate_keypair(entropy) == keypair_from_private(b"\x07" * 32)
    assert asked == [32]


def test_x25519_matches_rfc_7748():
    secret = x25519(
        unhex("a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4"),
        unhex("e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c"),
    )
    assert secret.hex() == "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552"


@pytest.mark.parametrize("public", [*SMALL_ORDER, b"", bytes(31), bytes(33)])
def test_x25519_refuses_keys_without_a_secret(public):
    with pytest.raises(RemoteProtocolError):
        x25519(generate_keypair(os.urandom).private, public)


@pytest.mark.parametrize("vector", VECTORS["xeddsa"], ids=lambda vector: vector["name"])
def test_xeddsa_verify_knows_both_dialects(vector):
    public, message, signature = (unhex(vector[f"{name}_hex"]) for name in ("public_key", "message", "signature"))
    assert signature[63] >> 7 == vector["sign_bit"]
    assert xeddsa_verify(public, message, signature) is vector["valid"]


def test_xeddsa_sign_verifies_and_keeps_the_sign_bit_clear():
    for seed in range(16):  # about half of all keys need their scalar negated
        pair = generate_keypair(lambda length, seed=seed: bytes([seed]) * length)
        signature = xeddsa_sign(pair.private, b"message", os.urandom)
        assert len(signature) == 64
        assert signature[63] < 0x80
        assert xeddsa_verify(pair.public, b"message", signature)
        assert not xeddsa_verify(pair.public, b"massage", signature)


def test_xeddsa_sign_is_randomised_by_the_given_entropy():
    private = generate_keypair(os.urandom).private
    signatures = [xeddsa_sign(private, b"", lambda length, byte=byte: bytes([byte]) * length) for byte in (1, 1, 2)]
    assert signatures[0] == signatures[1] != signatures[2]


@pytest.mark.parametrize("public", [*SMALL_ORDER, b"", bytes(31), bytes(33), b"\xff" * 32])
@pytest.mark.parametrize("signature", [b"", bytes(63), bytes(64), b"\xff" * 64, b"\1" + bytes(63), bytes(65)])
def test_xeddsa_verify_answers_no_to_malformed_input(public, signature):
    assert xeddsa_verify(public, b"message", signature) is False


@pytest.mark.parametrize("vector", VECTORS["hkdf_sha256"], ids=lambda vector: vector["name"])
def test_hkdf_matches_the_vectors(vector):
    info = (
        unhex(vector["info"]).decode("latin-1").encode()
    )  # made by an interface that takes text; see the README there
    out = hkdf_sha256(unhex(vector["ikm"]), salt=unhex(vector["salt"]), info=info, length=vector["len"])
    assert out.hex() == vector["out"]


def test_hkdf_matches_rfc_5869():
    salt, info = bytes(range(13)), bytes(range(0xF0, 0xFA))
    out = hkdf_sha256(b"\x0b" * 22, salt=salt, info=info, length=42)
    assert out.hex() == "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"


def test_hmac_matches_rfc_4231():
    mac = hmac_sha256(b"Jefe", b"what do ya want for nothing?")
    assert mac.hex() == "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"


def test_aes_ctr_matches_nist():
    key = unhex("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4")
    data = unhex("6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51")
    out = aes_ctr(key, bytes(range(0xF0, 0x100)), data)
    assert out.hex() == "601ec313775789a5b7a7f504bbf3d228f443e3ca4d62b59aca84e990cacaf5c5"
    assert aes_ctr(key, bytes(range(0xF0, 0x100)), out) == data


def test_pbkdf2_matches_the_published_value():
    out = pbkdf2_sha256(b"password", b"salt", 2, 32)
    assert out.hex() == "ae4d0c95af6b46d32d0adff928f06dd02a303f8ef3c251dfd6e2d85a95474c43"


def test_aes_gcm_round_trips_and_appends_the_tag():
    ciphertext = aes_gcm_encrypt(b"k" * 32, b"n" * 12, b"plaintext", b"aad")
    assert len(ciphertext) == len(b"plaintext") + 16
    assert aes_gcm_decrypt(b"k" * 32, b"n" * 12, ciphertext, b"aad") == b"plaintext"


@pytest.mark.parametrize("broken", [b"", bytes(15), bytes(16), bytes(40)])
def test_aes_gcm_decrypt_refuses_what_was_not_encrypted(broken):
    with pytest.raises(AuthenticationFailed):
        aes_gcm_decrypt(b"k" * 32, b"n" * 12, broken)


def test_aes_gcm_decrypt_refuses_other_associated_data():
    ciphertext = aes_gcm_encrypt(b"k" * 32, b"n" * 12, b"plaintext", b"aad")
    with pytest.raises(AuthenticationFailed):
        aes_gcm_decrypt(b"k" * 32, b"n" * 12, ciphertext)


def test_constant_time_equal():
    assert constant_time_equal(b"same", b"same")
    assert not constant_time_equal(b"same", b"sane")
    assert not constant_time_equal(b"same", b"longer")


# NIST SP 800-38A, F.2.5: the first block.
CBC_KEY = "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4"
CBC_IV = "000102030405060708090a0b0c0d0e0f"
CBC_PLAIN, CBC_CIPHER = "6bc1bee22e409f96e93d7e117393172a", "f58c4c04d6e5f1ba779eabfb5f7bfbd6"


def test_aes_cbc_gives_the_published_block():
    assert aes_cbc_encrypt(unhex(CBC_KEY), unhex(CBC_IV), unhex(CBC_PLAIN))[:16] == unhex(CBC_CIPHER)


@pytest.mark.parametrize("length", [0, 1, 15, 16, 17, 4096])
def test_aes_cbc_pads_and_unpads(length):
    key, iv, text = os.urandom(32), os.urandom(16), os.urandom(length)
    ciphertext = aes_cbc_encrypt(key, iv, text)
    assert len(ciphertext) == length + 16 - length % 16
    assert aes_cbc_decrypt(key, iv, ciphertext) == text


@pytest.mark.parametrize("ciphertext", ["", "00" * 15, "00" * 17, CBC_CIPHER])
def test_aes_cbc_refuses_what_it_did_not_make(ciphertext):
    with pytest.raises(AuthenticationFailed):
        aes_cbc_decrypt(unhex(CBC_KEY), unhex(CBC_IV), unhex(ciphertext))
