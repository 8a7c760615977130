"""Keys and accounts: generation, the round trip through storage, silence about secrets."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.playbook import ACCOUNT, CREDENTIALS, ROOT, seeded
from whatisup.errors import LocalProtocolError
from whatisup.jid import Jid
from whatisup.protocol.credentials import Account, Credentials, SignedPrekey, is_signed_prekey


def test_generate_signs_the_first_prekey() -> None:
    made = Credentials.generate(seeded(3), ROOT.public)
    key = made.signed_prekey
    assert key.key_id == 1
    assert is_signed_prekey(made.identity.public, key.pair.public, key.signature)
    assert len(made.adv_secret) == 32
    assert made.root_public == ROOT.public


@pytest.mark.parametrize("filler", [b"\x00", b"\xff", b"\x3f"])
def test_generate_registration_id_has_14_bits_and_is_not_0(filler: bytes) -> None:
    made = Credentials.generate(lambda n: filler * n, ROOT.public)
    assert 0 < made.registration_id < 2**14


def test_is_signed_prekey_refuses_another_identity() -> None:
    key = SignedPrekey.generate(CREDENTIALS.identity, 2, seeded(4))
    assert is_signed_prekey(CREDENTIALS.identity.public, key.pair.public, key.signature)
    assert not is_signed_prekey(CREDENTIALS.noise.public, key.pair.public, key.signature)
    assert not is_signed_prekey(CREDENTIALS.identity.public, key.pair.public, key.signature[:-1])


def test_credentials_survive_storage() -> None:
    assert Credentials.decode(CREDENTIALS.encode()) == CREDENTIALS


@pytest.mark.parametrize("name", ["Shop", None])
def test_account_survives_storage(name: str | None) -> None:
    account = Account(Jid.parse("15550001111:7@s.whatsapp.net"), Jid.parse("1:7@lid"), b"s", b"p" * 32, 4, "smba", name)
    assert Account.decode(account.encode()) == account
    assert account.phone_number == "15550001111"


@given(st.binary(max_size=200))
def test_decode_refuses_garbage(data: bytes) -> None:
    for kind in (Credentials, Account):
        with pytest.raises(LocalProtocolError):
            kind.decode(data)


def test_decode_refuses_a_later_format() -> None:
    later = bytearray(CREDENTIALS.encode())
    later[1] = 2
    with pytest.raises(LocalProtocolError, match="format 2"):
        Credentials.decode(bytes(later))


def test_decode_refuses_a_key_of_another_length() -> None:
    fields = msgspec.msgpack.decode(CREDENTIALS.encode())
    fields[7] = b"short"
    with pytest.raises(LocalProtocolError):
        Credentials.decode(msgspec.msgpack.encode(fields))


def test_decode_refuses_an_unreadable_address() -> None:
    text = ACCOUNT.encode().replace(b"15550001111:7@s.whatsapp.net", b"15550001111:7+s.whatsapp.net")
    with pytest.raises(LocalProtocolError):
        Account.decode(text)


def test_representations_show_no_secret() -> None:
    key = CREDENTIALS.signed_prekey
    shown = f"{CREDENTIALS!r} {key!r} {ACCOUNT!r}"
    for secret in (CREDENTIALS.adv_secret, key.signature, key.pair.private, ACCOUNT.signed_identity):
        assert repr(secret)[2:-1] not in shown
        assert secret.hex() not in shown
