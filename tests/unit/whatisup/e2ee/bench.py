"""What one message costs, in microseconds: `.venv/bin/python -m tests.unit.whatisup.e2ee.bench`.

Rule: a figure includes reading the record from bytes and writing it back, as a gateway has to.
"""

from __future__ import annotations

import os
import sys
import timeit
from collections.abc import Callable

from tests.unit.whatisup.e2ee.parties import Device, in_conversation, two_devices
from whatisup.e2ee import (
    SenderKeyRecord,
    create_sender_key,
    decrypt_group,
    distribution_message,
    encrypt_group,
    process_distribution,
)

TEXT = os.urandom(190)


def cost(name: str, run: Callable[[], object], times: int) -> None:
    best = min(timeit.repeat(run, number=times, repeat=5)) / times
    sys.stdout.write(f"{name:44} {best * 1e6:7.0f} µs\n")


def warm() -> tuple[Device, Device]:
    alice, bob = in_conversation(os.urandom)
    for _ in range(6):  # until every chain that a session may keep is there
        bob.receive(alice.send(TEXT))
        alice.receive(bob.send(TEXT))
    return alice, bob


def main() -> None:
    alice, bob = two_devices(os.urandom)
    bundle = bob.bundle()
    alice.start(bundle)
    first = alice.send(TEXT)
    cost("start a session", lambda: Device(os.urandom, alice.own).start(bundle), 200)
    cost("decrypt pkmsg, new session", lambda: bob.attempt("pkmsg", first.ciphertext).record.encode(), 200)
    cost("encrypt pkmsg", lambda: alice.send(TEXT), 1000)
    alice, bob = warm()
    bob.receive(alice.send(TEXT))
    turned = bob.send(TEXT)
    cost("decrypt msg, ratchet turns", lambda: alice.attempt("msg", turned.ciphertext).record.encode(), 1000)
    alice.receive(turned)
    following = bob.send(TEXT)
    cost("decrypt msg", lambda: alice.attempt("msg", following.ciphertext).record.encode(), 2000)
    cost("encrypt msg", lambda: alice.send(TEXT), 2000)
    sys.stdout.write(f"{'warm record':44} {len(alice.stored or b''):7} bytes\n")
    ours = create_sender_key(os.urandom)
    theirs = process_distribution(None, distribution_message(ours)).encode()
    message = encrypt_group(ours, TEXT, os.urandom)[1]
    cost("decrypt skmsg", lambda: decrypt_group(SenderKeyRecord.decode(theirs), message)[0].encode(), 500)
    cost("encrypt skmsg", lambda: encrypt_group(ours, TEXT, os.urandom)[0].encode(), 200)


if __name__ == "__main__":
    main()
