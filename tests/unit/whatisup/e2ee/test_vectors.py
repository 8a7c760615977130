"""Sessions, sender keys, padding and addresses against values that foreign implementations produced, state by state."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.whatisup.e2ee.parties import VECTORS, Device, pair_of, scripted, unhex
from whatisup.crypto import hkdf_sha256, keypair_from_private, x25519, xeddsa_sign, xeddsa_verify
from whatisup.e2ee import (
    OwnIdentity,
    PeerBundle,
    SenderKeyRecord,
    SessionRecord,
    SignalAddress,
    create_sender_key,
    decrypt_group,
    distribution_message,
    encrypt_group,
    pad,
    parse_prekey_message,
    process_distribution,
    unpad,
)
from whatisup.e2ee.chain import KeyChain
from whatisup.e2ee.envelope import read_sender_message, read_whisper
from whatisup.errors import BadPadding, OldCounter
from whatisup.jid import Jid, JidError

SESSIONS = ["session_with_one_time_prekey", "session_without_one_time_prekey"]
CURVE, SIMULTANEOUS, GROUP = VECTORS["curve"], VECTORS["simultaneous_initiation"], VECTORS["sender_key"]
PADDING = VECTORS["padding"]


# The curve


@pytest.mark.parametrize("name", ["a", "b"])
def test_curve_keypair(name):
    assert keypair_from_private(unhex(CURVE[name]["private"])) == pair_of(CURVE[name])


def test_curve_shared_secret():
    a, b = pair_of(CURVE["a"]), pair_of(CURVE["b"])
    assert x25519(a.private, b.public) == x25519(b.private, a.public) == unhex(CURVE["shared_secret"])


@pytest.mark.parametrize("case", CURVE["xeddsa"])
def test_curve_signature(case):
    public, message, signature = (unhex(case[key]) for key in ("public33", "message", "signature"))
    assert xeddsa_verify(public[1:], message, signature) is case["valid"]


# Sessions


def device(group: dict[str, Any], name: str, *generated: str) -> Device:
    entry = group[name]
    keys = [unhex(group["generated_keys_in_order"][key]["private"]) for key in generated]
    made = Device(scripted(*keys), OwnIdentity(pair_of(entry["identity"]), entry["registration_id"]))
    if "signed_prekey" in entry:
        made.signed = {entry["signed_prekey"]["id"]: pair_of(entry["signed_prekey"])}
    if one_time := entry.get("one_time_prekey"):
        made.prekeys = {one_time["id"]: pair_of(one_time)}
    return made


def bundle_of(bob: dict[str, Any]) -> PeerBundle:
    signed, one_time = bob["signed_prekey"], bob.get("one_time_prekey")
    return PeerBundle(
        registration_id=bob["registration_id"],
        identity=unhex(bob["identity"]["public33"])[1:],
        signed_prekey_id=signed["id"],
        signed_prekey=unhex(signed["public33"])[1:],
        signature=unhex(signed["signature_example"]),
        prekey_id=one_time["id"] if one_time else None,
        prekey=unhex(one_time["public33"])[1:] if one_time else None,
    )


def chain_state(direction: str, ratchet: bytes, chain: KeyChain) -> dict[str, Any]:
    kept = [chain.kept[at : at + 36] for at in range(0, len(chain.kept), 36)]
    return {
        "ratchet_key": "05" + ratchet.hex(),
        "direction": direction,
        "last_counter": chain.counter - 1,
        "chain_key": chain.key.hex() if chain.key else None,
        "skipped_message_keys": {str(int.from_bytes(entry[:4], "big")): entry[4:].hex() for entry in kept},
    }


def state_of(record: SessionRecord | None) -> dict[str, dict[str, Any]] | None:
    """A record as the vectors write it, by base key; which session is open is left out where the sources differ."""
    if record is None:
        return None
    states = {}
    for position, session in record.sessions():
        chains = [chain_state("receiving", item.ratchet, item.chain) for item in session.receiving]
        if session.sending:
            chains.append(chain_state("sending", session.ratchet.public, session.sending))
        pending = None
        if session.pending:
            pending = {
                "signed_prekey_id": session.pending.signed_prekey_id,
                "base_key": "05" + session.base_key.hex(),
                "prekey_id": session.pending.prekey_id,
            }
        states[session.base_key.hex()] = {
            "remote_registration_id": session.remote_registration_id,
            "base_key": "05" + session.base_key.hex(),
            "base_key_type": "ours" if session.base_ours else "theirs",
            "open": position == 0,
            "remote_identity": "05" + session.remote_identity.hex(),
            "root_key": session.root_key.hex(),
            "our_ratchet_private": session.ratchet.private.hex(),
            "our_ratchet_public": "05" + session.ratchet.public.hex(),
            "last_remote_ratchet": "05" + session.remote_ratchet.hex(),
            "previous_counter": session.previous_counter,
            "pending_prekey": pending,
            "chains": sorted(chains, key=lambda chain: chain["ratchet_key"]),
        }
    return states


def expected_state(sessions: list[dict[str, Any]] | None) -> dict[str, dict[str, Any]] | None:
    if sessions is None:
        return None
    states = {session["base_key"][2:]: dict(session) for session in sessions}
    for state in states.values():
        state["chains"] = sorted(state["chains"], key=lambda chain: chain["ratchet_key"])
    return states


def assert_inner(parsed: dict[str, Any], whisper: bytes) -> None:
    inner = read_whisper(whisper)
    assert "05" + inner.ratchet.hex() == parsed["ratchet_key"]
    assert (inner.counter, inner.previous_counter) == (parsed["counter"], parsed["previous_counter"])
    assert (inner.ciphertext.hex(), inner.mac.hex()) == (parsed["ciphertext"], parsed["mac"])


@pytest.mark.parametrize("name", SESSIONS)
def test_session_steps(name):
    group = VECTORS[name]
    alice = device(group, "alice", "alice_base", "alice_ratchet_1", "alice_ratchet_2")
    bob = device(group, "bob", "bob_ratchet_1", "bob_ratchet_2")
    alice.start(bundle_of(group["bob"]))
    assert state_of(alice.record) == expected_state(group["after_init_outgoing"]["alice"])
    people = {"alice": alice, "bob": bob}
    sent = {}
    for step in group["steps"]:
        who = people[step["by"]]
        if step["op"] == "encrypt":
            made = who.send(unhex(step["plaintext"]))
            assert (made.kind, made.ciphertext.hex()) == (step["type"], step["ciphertext"])
            sent[step["ciphertext"][-16:]] = made
            assert_inner(step["parsed"].get("inner", step["parsed"]), inner_of(made.kind, made.ciphertext, step))
        elif "error" in step:
            with pytest.raises(OldCounter):
                who.receive(sent[step["ciphertext_ref"]])
        else:
            assert who.receive(sent[step["ciphertext_ref"]]).padded == unhex(step["plaintext"])
        after = step.get("state_after") or {}
        for person, sessions in after.items():
            if person in people:
                assert state_of(people[person].record) == expected_state(sessions), step["label"]
        if after and group["bob"].get("one_time_prekey"):
            assert bool(bob.prekeys) is after["bob_one_time_prekey_present"], step["label"]


def inner_of(kind: str, ciphertext: bytes, step: dict[str, Any]) -> bytes:
    if kind == "msg":
        return ciphertext
    header, parsed = parse_prekey_message(ciphertext), step["parsed"]
    assert header.prekey_id == parsed.get("prekey_id")
    assert (header.signed_prekey_id, header.registration_id) == (parsed["signed_prekey_id"], parsed["registration_id"])
    assert "05" + header.base_key.hex() == parsed["base_key"]
    assert "05" + header.identity.hex() == parsed["identity_key"]
    at = ciphertext.index(unhex(parsed["inner"]["ratchet_key"])) - 3
    end = ciphertext.index(unhex(parsed["inner"]["mac"])) + 8
    return ciphertext[at:end]


@pytest.mark.parametrize("name", SESSIONS)
def test_session_message_keys(name):
    values = VECTORS[name]["message_key_derivation_m0"]
    chain = KeyChain(unhex(values["chain_key"]))
    found = chain.find(0)
    assert found.seed == unhex(values["message_key_seed_hmac_01"])
    assert chain.after(0, found.trail).key == unhex(values["next_chain_key_hmac_02"])
    keys = hkdf_sha256(found.seed, info=b"WhisperMessageKeys", length=80)
    assert keys == unhex(values["cipher_key"] + values["mac_key"] + values["iv"])


def test_session_simultaneous_initiation():
    group, keys = SIMULTANEOUS, SIMULTANEOUS["keys"]

    def side(name: str, registration_id: int, *rounds: str) -> Device:
        made = Device(
            scripted(*(unhex(keys[f"{name} {turn}"]["private"]) for turn in rounds)),
            OwnIdentity(pair_of(group[f"{name}_identity"]), registration_id),
            signed={7: pair_of(group[f"{name}_signed_prekey"])},
            prekeys={31: pair_of(group[f"{name}_one_time"])},
        )
        made.peer_identity = pair_of(group["bob_identity" if name == "alice" else "alice_identity"]).public
        return made

    def bundle(of: Device) -> PeerBundle:
        signed, one_time = of.signed[7].public, of.prekeys[31].public
        signature = xeddsa_sign(of.own.pair.private, b"\x05" + signed, scripted(bytes(64)))
        return PeerBundle(of.own.registration_id, of.own.pair.public, 7, signed, signature, 31, one_time)

    people = {"alice": side("alice", 1111, *ALICE_ROUNDS), "bob": side("bob", 2222, *BOB_ROUNDS)}
    bundles = {"alice": bundle(people["bob"]), "bob": bundle(people["alice"])}
    for name, person in people.items():
        person.start(bundles[name])
    sent = {}
    for number, step in enumerate(group["steps"], 1):
        who = people[step["by"]]
        if number == 7:  # Bob's promotion of step 6 is ours alone; the vector goes on in the other session
            who.keep(reopened(who, people["alice"].own, step["ciphertext"]))
        if step["op"] == "encrypt":
            made = who.send(unhex(step["plaintext"]))
            assert (made.kind, made.ciphertext.hex()) == (step["type"], step["ciphertext"])
            sent[step["plaintext"]] = made
        else:
            assert who.receive(sent[step["plaintext"]]).padded == unhex(step["plaintext"])
        for name, person in people.items():
            ours, theirs = state_of(person.record), expected_state(step["state_after"][name])
            assert ours is not None
            assert theirs is not None
            if number >= 6:  # from here on it matters that we promote
                ours, theirs = ({k: v | {"open": None} for k, v in states.items()} for states in (ours, theirs))
            assert ours == theirs, f"{name} after step {number}"


def reopened(who: Device, peer: OwnIdentity, ciphertext: str) -> SessionRecord:
    """The record with that session open which sends with the ciphertext's ratchet key."""
    record = who.record
    assert record is not None
    assert record.remote_identity == peer.pair.public
    ratchet = read_whisper(unhex(ciphertext)).ratchet
    [(position, session)] = [found for found in record.sessions() if found[1].ratchet.public == ratchet]
    assert position == 1  # that is, Bob did promote
    return record.advanced(position, session)


ALICE_ROUNDS = ("base", "ratchet 1", "ratchet 2", "ratchet 3")
BOB_ROUNDS = ("base", "ratchet 1", "ratchet 2", "ratchet 3")


# Sender keys


def own_sender_key() -> SenderKeyRecord:
    seeds = (GROUP["key_id"].to_bytes(4, "big"), unhex(GROUP["chain_seed"]), unhex(GROUP["signing"]["private"]))
    return create_sender_key(scripted(*seeds))


def test_sender_key_distribution():
    record = own_sender_key()
    assert record.key_id == GROUP["key_id"]
    assert distribution_message(record) == unhex(GROUP["skdm"])


def test_sender_key_chain():
    chain = KeyChain(unhex(GROUP["chain_seed"]))
    for row in GROUP["chain"]:
        assert chain.key == unhex(row["chain_key"])
        found = chain.find(row["iteration"])
        assert found.seed == unhex(row["message_key_seed"])
        keys = hkdf_sha256(found.seed, info=b"WhisperGroup", length=48)
        assert keys == unhex(row["iv"] + row["cipher_key"])
        chain = chain.after(row["iteration"], found.trail)


def test_sender_key_sends_what_the_sequence_says():
    record = own_sender_key()
    for row in GROUP["sequential"]:
        record, made = encrypt_group(record, unhex(row["plaintext"]), lambda length: bytes(length))
        expected = unhex(row["skmsg"])
        assert made[:-64] == expected[:-64]
        assert read_sender_message(made).iteration == row["iteration"]


def test_sender_key_distribution_carries_the_current_position():
    record = own_sender_key()
    for _ in range(7):
        record, _made = encrypt_group(record, b"x\1", lambda length: bytes(length))
    assert distribution_message(record) == unhex(GROUP["skdm_after_4_messages"])


def test_sender_key_receives_in_any_order():
    record = process_distribution(None, unhex(GROUP["skdm"]))
    for number, result in zip(
        GROUP["receive_order_test"]["order"], GROUP["receive_order_test"]["results"], strict=True
    ):
        message = unhex(GROUP["sequential"][number]["skmsg"])
        record = SenderKeyRecord.decode(record.encode())
        if "error" in result:
            with pytest.raises(OldCounter):
                decrypt_group(record, message)
        else:
            record, padded = decrypt_group(record, message)
            assert padded == unhex(result["plaintext"])


def test_sender_key_receives_from_baileys():
    record = process_distribution(None, unhex(GROUP["skdm"]))
    for row in GROUP["baileys_receive"]:
        record, padded = decrypt_group(record, unhex(GROUP["messages"][row["index"]]["skmsg"]))
        assert padded == unhex(row["plaintext"])


# Padding and addresses


@pytest.mark.parametrize("case", PADDING["examples"], ids=lambda case: str(case["pad"]))
def test_padding(case):
    plain, padded = unhex(case["unpadded"]), unhex(case["padded"])
    assert pad(plain, lambda _length: bytes((0xF0 + case["pad"] - 1,))) == padded
    assert unpad(padded) == plain


@pytest.mark.parametrize("case", PADDING["invalid"], ids=lambda case: case["reason"][:12])
def test_padding_that_no_client_makes(case):
    with pytest.raises(BadPadding):
        unpad(unhex(case["padded"]))


@pytest.mark.parametrize("case", VECTORS["signal_addresses"], ids=lambda case: case["address"])
def test_signal_address(case):
    assert str(SignalAddress.of(Jid.parse(case["jid"]))) == case["address"]


def test_signal_address_of_the_legacy_server_is_the_phone_numbers():
    assert SignalAddress.of(Jid("15550000001", "c.us", 3)) == SignalAddress("15550000001", 3)


@pytest.mark.parametrize("jid", ["123-456@g.us", "@s.whatsapp.net", "status@broadcast"])
def test_signal_address_only_of_users(jid):
    with pytest.raises(JidError):
        SignalAddress.of(Jid.parse(jid))
