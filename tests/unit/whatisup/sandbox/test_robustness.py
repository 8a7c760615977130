"""Whatever a client sends, it costs that client's connection at most: nothing comes out of `Server.receive`."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.whatisup.sandbox.bench import NUMBER, Bench, Device, Raw, make_bench
from whatisup.jid import SERVER, Jid
from whatisup.protocol.payloads import build_registration
from whatisup.protocol.profile import ClientProfile
from whatisup.sandbox.session import Compression
from whatisup.wire import Node

WORDS = [
    *("iq", "ack", "receipt", "message", "call", "presence", "ib", "notification", "stream:error", "success", "key"),
    *("count", "digest", "list", "user", "rotate", "skey", "id", "value", "signature", "registration", "type"),
    *("identity", "active", "passive", "pair-device-sign", "device-identity", "remove-companion-device", "error"),
    *("link_code_companion_reg", "link_code_pairing_ref", "link_code_pairing_wrapped_key_bundle", "participating"),
    *("companion_identity_public", "get", "set", "result", "encrypt", "md", "w:p", "w:g2", "abt", "usync", "12"),
    *("companion_hello", "companion_finish", "user_initiated", "", "-1", "99999999999999999999999", "\x00", "é"),
]
KEYS = [
    "id",
    "type",
    "xmlns",
    "to",
    "from",
    "jid",
    "stage",
    "class",
    "participant",
    "reason",
    "key-index",
    "code",
    "name",
]
JIDS = [SERVER, Jid(NUMBER, "s.whatsapp.net"), Jid(NUMBER, "s.whatsapp.net", 1), Jid("", "g.us"), Jid("1", "lid", 255)]

values = st.one_of(st.sampled_from(WORDS), st.sampled_from(JIDS), st.text(max_size=5))
attributes = st.dictionaries(st.sampled_from(KEYS), values, max_size=6)
leaves = st.one_of(st.none(), st.binary(max_size=40), st.sampled_from(WORDS))
nodes = st.recursive(
    st.builds(Node, st.sampled_from([word for word in WORDS if word]), attributes, leaves),
    lambda inner: st.builds(
        Node, st.sampled_from([word for word in WORDS if word]), attributes, st.lists(inner, max_size=4).map(tuple)
    ),
    max_leaves=8,
)
requests = st.builds(
    lambda kind, xmlns, children: Node("iq", {"id": "1.1-1", "type": kind, "xmlns": xmlns}, children),
    st.sampled_from(["get", "set", "result", "error", ""]),
    st.sampled_from(["encrypt", "md", "w:p", "w:g2", "abt", "passive", "blocklist", "privacy", "other"]),
    st.lists(nodes, max_size=3).map(tuple),
)

# One bench serves all examples: what they leave behind is part of the trial.
BENCH: Bench = make_bench(compression=Compression.NONE)


def a_device() -> Device:
    """A linked device; a new one where an earlier example has logged it out, which it may."""
    companions = BENCH.hub.state.companions(NUMBER)
    if not companions:
        DEVICES.append(BENCH.linked(name=f"device{len(DEVICES)}"))
    return DEVICES[-1]


DEVICES: list[Device] = []


@settings(max_examples=80, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.lists(st.one_of(nodes, requests), max_size=5))
def test_server_takes_any_stanza_of_a_device(stanzas: list[Node]) -> None:
    raw = Raw.logging_in(a_device())
    raw.send(*stanzas)
    BENCH.server.disconnected(raw.client)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.lists(st.one_of(nodes, requests), max_size=5))
def test_server_takes_any_stanza_of_a_newcomer(stanzas: list[Node]) -> None:
    raw = Raw.registering(BENCH)
    raw.send(*stanzas)
    BENCH.server.disconnected(raw.client)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.binary(max_size=200), max_size=5), st.booleans())
def test_server_takes_any_bytes(pieces: list[bytes], has_prologue: bool) -> None:
    client = BENCH.server.connect(lambda: None)
    for piece in [b"WA\x06\x03"] * has_prologue + pieces:
        BENCH.server.receive(client, piece)
    BENCH.server.disconnected(client)


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=100))
def test_server_takes_any_plaintext(plaintext: bytes) -> None:
    raw = Raw.registering(BENCH)
    raw.send_plaintext(plaintext)
    BENCH.server.disconnected(raw.client)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 400), st.binary(min_size=1, max_size=8))
def test_server_takes_any_client_payload(position: int, noise: bytes) -> None:
    credentials = BENCH.device("mutant").credentials
    payload = build_registration(credentials, ClientProfile())
    mutant = payload[: position % len(payload)] + noise + payload[position % len(payload) + len(noise) :]
    raw = Raw(BENCH, credentials, mutant)
    BENCH.server.disconnected(raw.client)
