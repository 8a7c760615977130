"""The certificate chain: each of the nine checks refuses on its own, and in their order."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whatisup.crypto import KeyPair, generate_keypair, xeddsa_sign
from whatisup.errors import CertificateError
from whatisup.wire import WHATSAPP_ROOT_PUBLIC, mint_chain, verify_chain
from whatisup.wire.proto import CertChain, NoiseCertificate, NoiseCertificateDetails, parse

VECTORS = json.loads((Path(__file__).parents[3] / "vectors" / "transport.json").read_text("utf-8"))
GOLDEN = bytes.fromhex(VECTORS["noise"]["cert_chain_hex"])
GOLDEN_STATIC = bytes.fromhex(VECTORS["keys"]["server_static"]["pub"])
GOLDEN_ROOT = bytes.fromhex(VECTORS["keys"]["cert_root"]["pub"])
NOW = 1_800_000_000.5
ROOT, INTERMEDIATE, SERVER, OTHER = (generate_keypair(lambda n, s=seed: bytes([s]) * n) for seed in (1, 2, 3, 4))


@dataclass(frozen=True)
class Plan:
    """What goes into one certificate."""

    serial: int
    issuer: int | None
    key: bytes
    signer: KeyPair
    not_before: int = 1_700_000_000
    not_after: int = 1_900_000_000

    def sign(self):
        details = NoiseCertificateDetails(
            serial=self.serial, key=self.key, notBefore=self.not_before, notAfter=self.not_after
        )
        if self.issuer is not None:
            details.issuerSerial = self.issuer
        data = details.SerializeToString()
        return NoiseCertificate(details=data, signature=xeddsa_sign(self.signer.private, data, os.urandom))


GOOD_LEAF = Plan(serial=2, issuer=1, key=SERVER.public, signer=INTERMEDIATE)
GOOD_INTERMEDIATE = Plan(serial=1, issuer=0, key=INTERMEDIATE.public, signer=ROOT)


def chain_of(leaf=GOOD_LEAF, intermediate=GOOD_INTERMEDIATE):
    return CertChain(leaf=leaf.sign(), intermediate=intermediate.sign())


def verify(chain, *, now=NOW):
    data = chain if isinstance(chain, bytes) else chain.SerializeToString()
    verify_chain(data, server_static=SERVER.public, root_public=ROOT.public, unix_now=now)


def refusal(chain, *, now=NOW):
    with pytest.raises(CertificateError) as caught:
        verify(chain, now=now)
    return caught.value


def test_golden_chain_verifies():
    verify_chain(GOLDEN, server_static=GOLDEN_STATIC, root_public=GOLDEN_ROOT, unix_now=NOW)


def test_real_root_is_the_default_of_nobody_elses_chain():
    with pytest.raises(CertificateError) as caught:
        verify_chain(GOLDEN, server_static=GOLDEN_STATIC, root_public=WHATSAPP_ROOT_PUBLIC, unix_now=NOW)
    assert caught.value.reason == "wrong_root"


def test_hand_made_chain_verifies():
    verify(chain_of())


def test_an_absent_issuer_serial_reads_as_the_roots():
    verify(chain_of(intermediate=replace(GOOD_INTERMEDIATE, issuer=None)))


def without(certificate, field):
    chain = chain_of()
    getattr(chain, certificate).ClearField(field)
    return chain


def with_signature(certificate, signature):
    chain = chain_of()
    getattr(chain, certificate).signature = signature
    return chain


def with_details(name, signer, data):
    chain = chain_of()
    certificate = NoiseCertificate(details=data, signature=xeddsa_sign(signer.private, data, os.urandom))
    getattr(chain, name).CopyFrom(certificate)
    return chain


@pytest.mark.parametrize(
    "chain",
    [
        b"",
        b"garbage",
        without("leaf", "details"),
        without("leaf", "signature"),
        without("intermediate", "details"),
        without("intermediate", "signature"),
        with_signature("leaf", bytes(63)),
        with_signature("intermediate", bytes(65)),
        with_details("intermediate", ROOT, b"\x0a"),
        with_details("leaf", INTERMEDIATE, b"\x0a"),
        chain_of(intermediate=replace(GOOD_INTERMEDIATE, key=INTERMEDIATE.public + b"\0")),
        chain_of(intermediate=replace(GOOD_INTERMEDIATE, key=b"")),
    ],
)
def test_malformed_chains_are_refused(chain):
    assert refusal(chain).reason == "malformed"


@pytest.mark.parametrize(
    ("reason", "leaf", "intermediate"),
    [
        ("wrong_root", {}, {"signer": OTHER}),
        ("wrong_serial", {}, {"issuer": 1}),
        ("bad_signature", {"signer": OTHER}, {}),
        ("bad_signature", {"signer": ROOT}, {}),
        ("not_yet_valid", {}, {"not_before": 1_800_000_001}),
        ("expired", {}, {"not_after": 1_800_000_000}),
        ("wrong_serial", {"issuer": 0}, {}),
        ("wrong_leaf_key", {"key": OTHER.public}, {}),
        ("wrong_leaf_key", {"key": b""}, {}),
        ("not_yet_valid", {"not_before": 1_800_000_001}, {}),
        ("expired", {"not_after": 1_800_000_000}, {}),
        ("expired", {"not_before": 1_800_000_001, "not_after": 0}, {"not_after": 0}),
    ],
)
def test_each_check_refuses(reason, leaf, intermediate):
    chain = chain_of(replace(GOOD_LEAF, **leaf), replace(GOOD_INTERMEDIATE, **intermediate))
    assert refusal(chain).reason == reason


def test_checks_come_in_order():
    # Every check fails; repairing them one by one uncovers the next.
    leaf = replace(GOOD_LEAF, signer=OTHER, issuer=9, key=OTHER.public, not_after=1)
    intermediate = replace(GOOD_INTERMEDIATE, signer=OTHER, issuer=9, not_before=1_900_000_000)
    repairs = [
        ("wrong_root", intermediate, {"signer": ROOT}),
        ("wrong_serial", intermediate, {"issuer": 0}),
        ("bad_signature", leaf, {"signer": INTERMEDIATE}),
        ("not_yet_valid", intermediate, {"not_before": 0}),
        ("wrong_serial", leaf, {"issuer": 1}),
        ("wrong_leaf_key", leaf, {"key": SERVER.public}),
        ("expired", leaf, {"not_after": 1_900_000_000}),
    ]
    for reason, plan, change in repairs:
        assert refusal(chain_of(leaf, intermediate)).reason == reason
        if plan.serial == leaf.serial:
            leaf = replace(leaf, **change)
        else:
            intermediate = replace(intermediate, **change)
    verify(chain_of(leaf, intermediate))


def test_windows_include_their_ends():
    verify(chain_of(), now=1_700_000_000)
    verify(chain_of(), now=1_900_000_000)
    assert refusal(chain_of(), now=1_699_999_999.9).reason == "not_yet_valid"
    assert refusal(chain_of(), now=1_900_000_000.1).reason == "expired"


def test_a_refusal_for_dates_names_them_and_our_clock():
    assert str(refusal(chain_of(), now=0)) == (
        "the intermediate certificate is valid from 2023-11-14 22:13:20 UTC to 2030-03-17 17:46:40 UTC; "
        "our clock says 1970-01-01 00:00:00 UTC"
    )


def test_dates_beyond_the_calendar_are_shown_as_numbers():
    far = replace(GOOD_INTERMEDIATE, not_before=2**64 - 1, not_after=2**64 - 1)
    assert f"second {2**64 - 1}" in str(refusal(chain_of(intermediate=far)))
    assert "our clock says second -5" in str(refusal(chain_of(), now=-5))


def test_minted_chain_verifies_only_for_its_server_and_root():
    window = {"not_before": 1_700_000_000, "not_after": 1_900_000_000, "entropy": os.urandom}
    verify(mint_chain(ROOT, INTERMEDIATE, SERVER.public, **window))
    assert refusal(mint_chain(OTHER, INTERMEDIATE, SERVER.public, **window)).reason == "wrong_root"
    assert refusal(mint_chain(ROOT, INTERMEDIATE, OTHER.public, **window)).reason == "wrong_leaf_key"
    forged = mint_chain(ROOT, INTERMEDIATE, SERVER.public, leaf_key=OTHER.public, **window)
    assert refusal(forged).reason == "wrong_leaf_key"


def test_minted_intermediate_equals_the_golden_one():
    intermediate = KeyPair(bytes(32), bytes.fromhex(VECTORS["keys"]["cert_intermediate"]["pub"]))
    chain = mint_chain(
        ROOT, intermediate, SERVER.public, not_before=1_700_000_000, not_after=4_102_444_800, entropy=os.urandom
    )
    # The root's serial 0 is written, since Baileys refuses an intermediate without it.
    details = parse(CertChain, chain).intermediate.details
    assert details.hex() == VECTORS["noise"]["intermediate_details_hex"]


@given(st.integers(0, len(GOLDEN)), st.integers(0, 4), st.binary(max_size=4))
@settings(max_examples=300, deadline=None)
def test_a_mutated_chain_is_refused_as_a_certificate(start, cut, patch):
    data = GOLDEN[:start] + patch + GOLDEN[start + cut :]
    try:
        verify_chain(data, server_static=GOLDEN_STATIC, root_public=GOLDEN_ROOT, unix_now=NOW)
    except CertificateError:
        return
    # Only what says the same may pass: both certificates untouched.
    chain, golden = parse(CertChain, data), parse(CertChain, GOLDEN)
    assert (chain.leaf.details, chain.intermediate.details) == (golden.leaf.details, golden.intermediate.details)


@given(st.binary(max_size=100))
@settings(max_examples=200, deadline=None)
def test_any_other_chain_is_refused_as_a_certificate(data):
    with pytest.raises(CertificateError):
        verify(data)
