from __future__ import annotations

import pytest

from whatisup.errors import CertificateError
from whatisup.sandbox.authority import Authority, ServerIdentity, Variant
from whatisup.sandbox.entropy import Seed
from whatisup.wire import verify_chain

NOW = 1_700_000_000.0
YEAR = 365 * 86_400


def verify(authority: Authority, identity: ServerIdentity, now: float = NOW) -> None:
    verify_chain(identity.chain, server_static=identity.static.public, root_public=authority.root_public, unix_now=now)


@pytest.fixture
def authority() -> Authority:
    return Authority.generate(Seed.of(1).stream("authority"))


def test_authority_good_chain_is_good(authority: Authority) -> None:
    verify(authority, authority.identity(NOW, Seed.of(2).stream("x")))


def test_authority_good_chain_is_renewed_before_it_ends(authority: Authority) -> None:
    entropy = Seed.of(2).stream("x")
    first = authority.identity(NOW, entropy)
    assert authority.identity(NOW + YEAR / 2, entropy) is first
    verify(authority, authority.identity(NOW + YEAR, entropy), NOW + YEAR)


@pytest.mark.parametrize(
    ("variant", "reason"),
    [("expired", "expired"), ("wrong-leaf-key", "wrong_leaf_key"), ("wrong-root", "wrong_root")],
)
def test_authority_bad_chain_is_bad_in_one_respect(authority: Authority, variant: Variant, reason: str) -> None:
    with pytest.raises(CertificateError) as caught:
        verify(authority, authority.bad_identity(variant, NOW, Seed.of(2).stream("x")))
    assert caught.value.reason == reason


def test_authority_survives_its_encoding(authority: Authority) -> None:
    again = Authority.decode(authority.encode())
    assert again.root_public == authority.root_public
    verify(authority, again.identity(NOW, Seed.of(2).stream("x")))


def test_authority_of_a_seed_is_fixed() -> None:
    one, two = (Authority.generate(Seed.of(seed).stream("authority")) for seed in (1, 2))
    assert one.root_public == Authority.generate(Seed.of(1).stream("authority")).root_public
    assert one.root_public != two.root_public
