"""Sessions and sender keys against another implementation: npm's libsignal and Baileys' group cipher, unmodified."""

from __future__ import annotations

import json
import os
import select
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.interop.baileys import HERE, require_baileys
from tests.unit.whatisup.e2ee.parties import Device
from whatisup.e2ee import (
    Encrypted,
    PeerBundle,
    SenderKeyRecord,
    create_sender_key,
    decrypt_group,
    distribution_message,
    encrypt_group,
    process_distribution,
)
from whatisup.errors import OldCounter

ANSWER_S = 20.0
PEER = Path(__file__).parent / "peer.mjs"


class ForeignError(Exception):
    """The foreign implementation refused."""


class Foreign:
    """The other implementation's device."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process

    def __call__(self, op: str, **arguments: Any) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"op": op, **arguments}).encode() + b"\n")
        self.process.stdin.flush()
        assert select.select([self.process.stdout], [], [], ANSWER_S)[0], f"no answer to {op}"
        answer = json.loads(self.process.stdout.readline())
        if "error" in answer:
            raise ForeignError(answer["error"])
        return answer["ok"]

    def bundle(self, *, one_time: bool) -> PeerBundle:
        given = self("bundle", one_time=one_time)
        for name in ("identity", "signed_prekey", "prekey"):
            given[name] = given[name] and bytes.fromhex(given[name])[1:]
        return PeerBundle(**given | {"signature": bytes.fromhex(given["signature"])})

    def start(self, bundle: PeerBundle) -> None:
        keys = {name: "05" + getattr(bundle, name).hex() for name in ("identity", "signed_prekey")}
        keys["prekey"] = None if bundle.prekey is None else "05" + bundle.prekey.hex()
        numbers = {name: getattr(bundle, name) for name in ("registration_id", "signed_prekey_id", "prekey_id")}
        self("start", bundle=keys | numbers | {"signature": bundle.signature.hex()})

    def send(self, plaintext: bytes) -> Encrypted:
        made = self("encrypt", plaintext=plaintext.hex())
        return Encrypted(None, made["kind"], bytes.fromhex(made["ciphertext"]))

    def receive(self, sent: Encrypted) -> bytes:
        return bytes.fromhex(self("decrypt", kind=sent.kind, ciphertext=sent.ciphertext.hex()))


@pytest.fixture
def foreign() -> Iterator[Foreign]:
    command = [require_baileys(), str(PEER), str(HERE / "node_modules")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        try:
            yield Foreign(process)
        finally:
            process.kill()


def assert_conversation(ours: Device, foreign: Foreign) -> None:
    """Both ways, out of order, late by a turn, and over several ratchet steps."""
    late: tuple[Encrypted, Encrypted] | None = None
    for turn in range(4):
        to_them = [ours.send(b"to them %d.%d" % (turn, n)) for n in range(4)]
        to_us = [foreign.send(b"to us %d.%d" % (turn, n)) for n in range(4)]
        for n in (2, 0, 3):  # number 1 comes a turn later
            assert foreign.receive(to_them[n]) == b"to them %d.%d" % (turn, n)
            assert ours.receive(to_us[n]).padded == b"to us %d.%d" % (turn, n)
        with pytest.raises(OldCounter):
            ours.receive(to_us[2])
        with pytest.raises(ForeignError):
            foreign.receive(to_them[2])
        if late is not None:
            assert foreign.receive(late[0]) == b"to them %d.1" % (turn - 1)
            assert ours.receive(late[1]).padded == b"to us %d.1" % (turn - 1)
        late = to_them[1], to_us[1]


@pytest.mark.parametrize("one_time", [True, False])
def test_foreign_session_that_we_start(foreign, one_time):
    ours = Device.fresh(os.urandom)
    ours.start(foreign.bundle(one_time=one_time))
    first, second = ours.send(b"first"), ours.send(b"second")
    assert first.kind == second.kind == "pkmsg"
    assert foreign.receive(second) == b"second"
    assert foreign.receive(first) == b"first"
    assert ours.receive(foreign.send(b"answer")).padded == b"answer"
    assert ours.send(b"lost").kind == "msg"
    assert_conversation(ours, foreign)


@pytest.mark.parametrize("one_time", [True, False])
def test_foreign_session_that_they_start(foreign, one_time):
    ours = Device.fresh(os.urandom)
    foreign.start(ours.bundle(one_time=one_time))
    first, second = foreign.send(b"first"), foreign.send(b"second")
    got = ours.receive(second)
    assert got.padded == b"second"
    assert got.used_prekey_id == (1 if one_time else None)
    got = ours.receive(first)
    assert got.padded == b"first"
    assert got.used_prekey_id is None
    assert foreign.receive(ours.send(b"answer")) == b"answer"
    assert foreign.send(b"lost").kind == "msg"
    assert_conversation(ours, foreign)


def test_foreign_sessions_that_both_start(foreign):
    ours = Device.fresh(os.urandom)
    ours.start(foreign.bundle(one_time=True))
    foreign.start(ours.bundle())
    to_them, to_us = ours.send(b"mine"), foreign.send(b"yours")
    assert foreign.receive(to_them) == b"mine"
    assert ours.receive(to_us).padded == b"yours"
    assert ours.receive(foreign.send(b"after")).padded == b"after"
    assert_conversation(ours, foreign)


def test_foreign_session_renewed_by_either_side(foreign):
    ours = Device.fresh(os.urandom)
    ours.start(foreign.bundle(one_time=True))
    assert foreign.receive(ours.send(b"1")) == b"1"
    foreign.start(ours.bundle())
    assert ours.receive(foreign.send(b"2")).padded == b"2"
    ours.start(foreign.bundle(one_time=False))
    assert foreign.receive(ours.send(b"3")) == b"3"
    assert ours.receive(foreign.send(b"4")).padded == b"4"
    assert_conversation(ours, foreign)


def test_foreign_group_messages_to_us(foreign):
    record = process_distribution(None, bytes.fromhex(foreign("distribution")))
    texts = [(b"group %d" % n).hex() for n in range(6)]
    sent = [bytes.fromhex(foreign("encrypt_group", plaintext=text)) for text in texts]
    for n in (3, 0, 5, 1, 4, 2):
        record, padded = decrypt_group(SenderKeyRecord.decode(record.encode()), sent[n])
        assert padded == b"group %d" % n
        with pytest.raises(OldCounter):
            decrypt_group(record, sent[n])


def test_foreign_group_messages_from_us(foreign):
    record = create_sender_key(os.urandom)
    record, unread = encrypt_group(record, b"before they had the key", os.urandom)
    foreign("process", message=distribution_message(record).hex())
    sent = []
    for n in range(6):
        record, made = encrypt_group(SenderKeyRecord.decode(record.encode()), b"group %d" % n, os.urandom)
        sent.append(made)
    for n in (3, 0, 5, 1, 4, 2):
        assert bytes.fromhex(foreign("decrypt_group", ciphertext=sent[n].hex())) == b"group %d" % n
    with pytest.raises(ForeignError):
        foreign("decrypt_group", ciphertext=unread.hex())
