"""The handshake: every step of both sides against golden states and bytes, then tampering and garbage."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whatisup.crypto import AuthenticationFailed, KeyPair, generate_keypair, keypair_from_private
from whatisup.errors import CertificateError, LocalProtocolError, RemoteProtocolError
from whatisup.wire import WA_HEADER, ClientHandshake, PrologueDecoder, ServerHandshake, Transport, mint_chain, noise
from whatisup.wire.proto import HandshakeMessage

VECTORS = json.loads((Path(__file__).parents[3] / "vectors" / "transport.json").read_text("utf-8"))
NOISE = {name: bytes.fromhex(text) for name, text in VECTORS["noise"].items() if name.endswith("_hex")}
KEYS = {name: keypair_from_private(bytes.fromhex(pair["priv"])) for name, pair in VECTORS["keys"].items()}
NOW = 1_750_000_000


def golden_client(**changes):
    settled = {"root_public": KEYS["cert_root"].public, "unix_now": NOW, "entropy": os.urandom}
    settled |= {"ephemeral": KEYS["client_ephemeral"]} | changes
    return ClientHandshake(KEYS["client_static_noise"], **settled)


def golden_server():
    chain = NOISE["cert_chain_hex"]
    return ServerHandshake(KEYS["server_static"], chain, os.urandom, ephemeral=KEYS["server_ephemeral"])


def client_transport():
    client = golden_client()
    client.hello()
    return client.finish(NOISE["server_hello_hex"], NOISE["client_payload_hex"])[1]


def server_transport():
    server = golden_server()
    server.reply(WA_HEADER, NOISE["client_hello_hex"])
    return server.complete(NOISE["client_finish_hex"])[1]


def flipped(data):
    """The same bytes but for their last bit."""
    return data[:-1] + bytes([data[-1] ^ 1])


class RecordingState(noise.SymmetricState):
    """Notes h, ck, k and counter after each step, as the vectors do."""

    def __init__(self, header):
        self.steps, self.inside, self.keys = [], 0, None
        super().__init__(header)

    def note(self, operation, *arguments):
        self.inside += 1
        result = operation(*arguments)
        self.inside -= 1
        if not self.inside:
            state = {"h": self.h.hex(), "ck": self.ck.hex(), "k": self.k.hex(), "counter": self.counter}
            self.steps.append(state)
        return result

    def mix_hash(self, data):
        self.note(super().mix_hash, data)

    def mix_key(self, secret):
        self.note(super().mix_key, secret)

    def encrypt(self, plaintext):
        return self.note(super().encrypt, plaintext)

    def decrypt(self, ciphertext):
        return self.note(super().decrypt, ciphertext)

    def split(self):
        self.keys = super().split()
        return self.keys


@pytest.fixture
def states(monkeypatch):
    made = []

    def record(header):
        made.append(RecordingState(header))
        return made[-1]

    monkeypatch.setattr(noise, "SymmetricState", record)
    return made


@pytest.mark.parametrize("run", [client_transport, server_transport], ids=["client", "server"])
def test_every_step_matches_the_vectors(run, states):
    run()
    [state] = states
    golden = [{key: step[key] for key in ("h", "ck", "k", "counter")} for step in VECTORS["noise"]["steps"]]
    assert state.steps == golden
    assert state.keys == (NOISE["client_write_server_read_key_hex"], NOISE["client_read_server_write_key_hex"])


def test_client_writes_the_golden_bytes():
    client = golden_client()
    assert client.hello() == NOISE["first_client_bytes_on_wire_hex"]
    finish, _ = client.finish(NOISE["server_hello_hex"], NOISE["client_payload_hex"])
    assert finish == NOISE["client_finish_on_wire_hex"]


def test_routing_info_is_sent_and_not_hashed():
    client = golden_client(routing_info=bytes.fromhex("0802080c"))
    assert client.hello() == NOISE["first_client_bytes_with_routing_info_0802080c_hex"]
    finish, _ = client.finish(NOISE["server_hello_hex"], NOISE["client_payload_hex"])
    assert finish == NOISE["client_finish_on_wire_hex"]


def test_server_writes_the_golden_bytes_and_learns_the_client():
    server = golden_server()
    assert server.reply(WA_HEADER, NOISE["client_hello_hex"]) == NOISE["server_hello_on_wire_hex"]
    client, _ = server.complete(NOISE["client_finish_hex"])
    assert client.noise_public == KEYS["client_static_noise"].public
    assert client.payload == NOISE["client_payload_hex"]
    assert NOISE["client_payload_hex"].hex() not in repr(client)
    assert repr(client).endswith(f"{len(client.payload)} bytes)")


def test_transport_frames_match_the_vectors():
    client, server = client_transport(), server_transport()
    for frame in VECTORS["noise"]["transport"]:
        sender, receiver = (client, server) if frame["dir"] == "client->server" else (server, client)
        payload = bytes.fromhex(frame["frame_on_wire_hex"])[3:]
        assert sender.encrypt(bytes.fromhex(frame["plaintext_hex"])) == payload
        assert receiver.decrypt(payload).hex() == frame["plaintext_hex"]


def test_both_sides_meet_with_keys_of_their_own():
    root, intermediate, static, device = (generate_keypair(os.urandom) for _ in range(4))
    chain = mint_chain(root, intermediate, static.public, not_before=0, not_after=2 * NOW, entropy=os.urandom)
    client = ClientHandshake(device, root_public=root.public, unix_now=NOW, entropy=os.urandom, routing_info=b"edge")
    server = ServerHandshake(static, chain, os.urandom)
    prologue, hello = PrologueDecoder().feed(client.hello())
    finish, ours = client.finish(server.reply(prologue.header, hello[3:])[3:], b"login")
    result, theirs = server.complete(finish[3:])
    assert (result.noise_public, result.payload, prologue.routing_info) == (device.public, b"login", b"edge")
    assert theirs.decrypt(ours.encrypt(b"ping")) == b"ping"
    assert ours.decrypt(theirs.encrypt(b"pong")) == b"pong"


def test_ephemeral_keys_are_new_for_every_connection():
    assert golden_client(ephemeral=None).hello() != golden_client(ephemeral=None).hello()
    first, second = (ServerHandshake(KEYS["server_static"], b"chain", os.urandom) for _ in range(2))
    hello = NOISE["client_hello_hex"]
    assert first.reply(WA_HEADER, hello) != second.reply(WA_HEADER, hello)


def test_client_checks_the_certificate():
    for changes, reason in [
        ({"root_public": KEYS["client_ephemeral"].public}, "wrong_root"),
        ({"unix_now": 1_600_000_000}, "not_yet_valid"),
        ({"unix_now": 5_000_000_000}, "expired"),
    ]:
        client = golden_client(**changes)
        client.hello()
        with pytest.raises(CertificateError) as caught:
            client.finish(NOISE["server_hello_hex"], b"")
        assert caught.value.reason == reason


def test_another_header_than_the_clients_fails():
    server = golden_server()
    client = golden_client()
    client.hello()
    hello = server.reply(b"WA\x06\x02", NOISE["client_hello_hex"])
    with pytest.raises(AuthenticationFailed):
        client.finish(hello[3:], b"")


@pytest.mark.parametrize("field", ["static", "payload"])
def test_server_refuses_a_resumed_handshake(field):
    hello = HandshakeMessage.ClientHello(ephemeral=KEYS["client_ephemeral"].public, **{field: b"x"})
    with pytest.raises(RemoteProtocolError, match="resumed"):
        golden_server().reply(WA_HEADER, HandshakeMessage(clientHello=hello).SerializeToString())


@pytest.mark.parametrize("ephemeral", [b"", bytes(31), bytes(33), bytes(32)])
def test_both_sides_refuse_a_bad_ephemeral_key(ephemeral):
    hello = HandshakeMessage(clientHello=HandshakeMessage.ClientHello(ephemeral=ephemeral))
    with pytest.raises(RemoteProtocolError):
        golden_server().reply(WA_HEADER, hello.SerializeToString())
    answer = HandshakeMessage(serverHello=HandshakeMessage.ServerHello(ephemeral=ephemeral))
    client = golden_client()
    client.hello()
    with pytest.raises(RemoteProtocolError):
        client.finish(answer.SerializeToString(), b"")


def test_both_sides_refuse_a_static_key_of_another_length():
    static, device = KEYS["server_static"], KEYS["client_static_noise"]
    client = golden_client()
    server = ServerHandshake(KeyPair(static.private, static.public[:31]), b"", os.urandom)
    hello = client.hello()[len(WA_HEADER) + 3 :]
    with pytest.raises(RemoteProtocolError, match="static key"):
        client.finish(server.reply(WA_HEADER, hello)[3:], b"")

    settled = {"root_public": KEYS["cert_root"].public, "unix_now": NOW, "entropy": os.urandom}
    client, server = ClientHandshake(KeyPair(device.private, device.public + b"x"), **settled), golden_server()
    hello = client.hello()[len(WA_HEADER) + 3 :]
    finish, _ = client.finish(server.reply(WA_HEADER, hello)[3:], b"")
    with pytest.raises(RemoteProtocolError, match="static key"):
        server.complete(finish[3:])


def test_steps_come_once_and_in_order():
    client, server = golden_client(), golden_server()
    with pytest.raises(LocalProtocolError):
        client.finish(NOISE["server_hello_hex"], b"")
    with pytest.raises(LocalProtocolError):
        server.complete(NOISE["client_finish_hex"])
    client.hello()
    with pytest.raises(AuthenticationFailed):
        client.finish(flipped(NOISE["server_hello_hex"]), b"")
    with pytest.raises(LocalProtocolError):
        client.finish(NOISE["server_hello_hex"], b"")


# The transport


def test_transport_refuses_a_tampered_or_repeated_frame():
    for break_it in (lambda frame: frame[:-1], flipped, lambda _: b"", lambda _: bytes(40)):
        sender, receiver = client_transport(), server_transport()
        with pytest.raises(AuthenticationFailed):
            receiver.decrypt(break_it(sender.encrypt(b"plaintext")))
    sender, receiver = client_transport(), server_transport()
    frame = sender.encrypt(b"plaintext")
    receiver.decrypt(frame)
    with pytest.raises(AuthenticationFailed):
        receiver.decrypt(frame)


def test_transport_counters_end_below_32_bits():
    sender, receiver = Transport(b"w" * 32, b"r" * 32), Transport(b"r" * 32, b"w" * 32)
    sender._sent = receiver._received = 2**32 - 1  # white box: nobody sends that many frames in a test
    frame = sender.encrypt(b"the last")
    assert receiver.decrypt(frame) == b"the last"
    with pytest.raises(LocalProtocolError):
        sender.encrypt(b"one more")
    with pytest.raises(RemoteProtocolError):
        receiver.decrypt(frame)


# Garbage


def mutations(golden):
    """Golden bytes with a few of them cut out, replaced or put in; or any bytes."""

    @st.composite
    def mutate(draw):
        start = draw(st.integers(0, len(golden)))
        return golden[:start] + draw(st.binary(max_size=4)) + golden[start + draw(st.integers(0, 4)) :]

    return st.one_of(mutate(), st.binary(max_size=120))


@given(mutations(NOISE["server_hello_hex"]))
@settings(max_examples=200, deadline=None)
def test_client_finish_of_anything_answers_or_raises_remote_protocol_error(data):
    client = golden_client()
    client.hello()
    try:
        finish, _ = client.finish(data, NOISE["client_payload_hex"])
    except RemoteProtocolError:
        return
    assert finish == NOISE["client_finish_on_wire_hex"]


@given(mutations(NOISE["client_hello_hex"]))
@settings(max_examples=200, deadline=None)
def test_server_reply_to_anything_answers_or_raises_remote_protocol_error(data):
    server = golden_server()
    try:
        assert server.reply(WA_HEADER, data)
    except RemoteProtocolError:
        return


@given(mutations(NOISE["client_finish_hex"]))
@settings(max_examples=200, deadline=None)
def test_server_complete_of_anything_answers_or_raises_remote_protocol_error(data):
    server = golden_server()
    server.reply(WA_HEADER, NOISE["client_hello_hex"])
    try:
        client, _ = server.complete(data)
    except RemoteProtocolError:
        return
    assert client.payload == NOISE["client_payload_hex"]
