"""Whatever a server says, a connection answers with events or `RemoteProtocolError`, and with nothing else."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.playbook import (
    ACCOUNT,
    CREDENTIALS,
    ENTROPY,
    IDENTITY,
    OWN_LID,
    UNIX,
    CodePhone,
    Playbook,
    mutations,
    scan,
)
from whatisup.errors import RemoteProtocolError
from whatisup.jid import SERVER, Jid
from whatisup.protocol.credentials import Account
from whatisup.protocol.events import Event, FrameDropped
from whatisup.protocol.linking_code import (
    LinkingSecret,
    build_linking_ref,
    build_refresh_code,
    derive_key,
    parse_companion_hello,
)
from whatisup.protocol.outcomes import build_failure, build_stream_error, build_success
from whatisup.protocol.pairing import build_pair_device
from whatisup.protocol.prekeys import Bundle, build_count, build_digest, build_low_notification
from whatisup.protocol.stanzas.ack import build_server_ack
from whatisup.protocol.stanzas.ib import (
    Dirty,
    OfflinePreview,
    build_client_expiration,
    build_dirty,
    build_edge_routing,
    build_offline,
    build_offline_preview,
)
from whatisup.protocol.stanzas.iq import build_error, build_request, build_result
from whatisup.protocol.stanzas.keepalive import build_server_ping
from whatisup.protocol.stanzas.message import Enc, Outgoing, build_delivery, mark_offline, parse_envelope
from whatisup.protocol.stanzas.notification import AccountRestricted, build_restriction
from whatisup.protocol.stanzas.query import Props, build_props
from whatisup.protocol.stanzas.receipt import build_retry_receipt
from whatisup.protocol.stanzas.usync import build_answer, build_device_query, parse_query
from whatisup.wire import Node, encode_node

FRIEND = Jid("15550002222", "s.whatsapp.net", 3)
CODE = "119K5DT5"
REF = b"linking-ref"
SECRET = LinkingSecret.derive(CODE, ENTROPY)


def registration() -> Playbook:
    return Playbook.registration().open()


def offered() -> Playbook:
    return registration().serve(build_pair_device("1", ("a", "b")))


def linking() -> Playbook:
    book = offered()
    book.answers["md", "link_code_companion_reg"] = lambda request: build_linking_ref(request, REF)
    book.connection.request_linking_code("15550001111", SECRET, book.now)
    book.settle()
    return book


def opening() -> Playbook:
    return Playbook.login().open()


def logging_in() -> Playbook:
    """A login whose every request awaits its answer."""
    book = Playbook.login()
    book.answers.clear()
    return book.let_in()


def connected() -> Playbook:
    return Playbook.login().let_in()


SCENES: tuple[Callable[[], Playbook], ...] = (registration, offered, linking, opening, logging_in, connected)
PENDING = [f"14516.58962-{n}" for n in range(1, 8)]
HELLO = CodePhone(parse_companion_hello(linking().requests("md")[0]), CODE).hello(REF)


def request(number: int) -> Node:
    return build_request(PENDING[number], "get", "encrypt")


ENC = Enc("pkmsg", b"ciphertext", 1)
SENT = Outgoing(id="M", to=OWN_LID, type="text", device_identity=b"identity", meta={"polltype": "creation"})
ENVELOPE = parse_envelope(build_delivery(SENT, source=FRIEND, unix_t=UNIX), own_pn=ACCOUNT.jid, own_lid=None)
KEYS = Bundle(IDENTITY, (1, bytes(32)), b"identity")
RETRY = build_retry_receipt(ENVELOPE, count=2, error=4, registration_id=7, keys=KEYS)


STANZAS: tuple[Node, ...] = (
    build_pair_device("1", ("2@a", "2@b")),
    scan(CREDENTIALS, CREDENTIALS.adv_secret),
    HELLO,
    build_refresh_code("r", server_unix=UNIX),
    build_linking_ref(request(1), REF),
    build_success(OWN_LID, UNIX),
    build_failure(402, ban_code=101, expires_in_s=60),
    build_stream_error(401, conflict="device_removed"),
    build_count(request(0), 3),
    build_result(request(1)),
    build_error(request(0), 429, backoff_s=5),
    build_digest(request(2), IDENTITY, [(1, bytes(32))]),
    build_props(request(3), Props("h", {"1": "2"})),
    build_low_notification("n", 1, server_unix=UNIX),
    build_offline_preview(OfflinePreview(5)),
    build_offline(5),
    build_edge_routing(b"\x08\x02"),
    build_dirty(Dirty("groups", UNIX)),
    build_client_expiration(UNIX),
    build_server_ping("p"),
    mark_offline(build_delivery(SENT, source=FRIEND, unix_t=UNIX, encs=(ENC,), sender_alt=Jid("5", "lid")), 1),
    build_delivery(SENT, source=Jid("1", "g.us"), unix_t=UNIX, encs=(ENC, ENC), participant=FRIEND),
    Node("receipt", {"id": "R", "from": FRIEND, "type": "read", "offline": "0"}),
    Node("receipt", {**RETRY.attrs, "from": FRIEND}, RETRY.content),
    build_server_ack(Node("message", {"id": "M", "to": FRIEND}), server_unix=UNIX, phash="2:x"),
    build_restriction("n", AccountRestricted("reachout_timelock", True, "DEFAULT", UNIX), unix_t=UNIX),
    build_answer(request(4), parse_query(build_device_query("4", [FRIEND])), []),
    Node("presence", {"from": FRIEND, "type": "available"}),
)
PLAINTEXTS = tuple(encode_node(node) for node in STANZAS)

scenes = st.sampled_from(SCENES)
changes = st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=4)
mutated = st.builds(mutations, st.sampled_from(PLAINTEXTS), changes)

keys = st.sampled_from(
    ["id", "from", "to", "type", "t", "xmlns", "code", "count", "value", "lid", "jid", "reason", "expire", "offline",
     "stage", "hash", "timestamp", "participant", "backoff", "class", "recipient", "sender_lid", "participant_pn",
     "category", "key", "v", "error"]
)  # fmt: skip
values = st.one_of(
    st.sampled_from(
        ["", "get", "set", "result", "error", "md", "encrypt", "urn:xmpp:ping", "primary_hello", "device_removed",
         "link_code_companion_reg", "-1", "0", "402", "515", "9" * 20, *PENDING]
    ),
    st.sampled_from([SERVER, FRIEND, ACCOUNT.jid, ACCOUNT.lid, Jid("1", "g.us"), Jid("", "lid")]),
    st.text(max_size=8),
)  # fmt: skip
tags = st.sampled_from(
    ["iq", "ib", "notification", "message", "receipt", "call", "success", "failure", "stream:error", "xmlstreamend",
     "ack", "presence", "pair-device", "pair-success", "ref", "device-identity", "device", "platform", "biz", "error",
     "count", "digest", "list", "skey", "props", "prop", "offline", "offline_preview", "edge_routing", "routing_info",
     "dirty", "conflict", "link_code_companion_reg", "link_code_pairing_ref", "key", "id", "hash", "client_expiration",
     "enc", "participants", "user", "retry", "registration", "keys", "meta", "unavailable", "item", "new"]
)  # fmt: skip
nodes = st.recursive(
    st.builds(Node, tags, st.dictionaries(keys, values, max_size=5), st.none() | st.binary(max_size=80) | values.filter(
        lambda value: isinstance(value, str))),
    lambda children: st.builds(
        Node, tags, st.dictionaries(keys, values, max_size=5), st.lists(children, max_size=4).map(tuple)
    ),
    max_leaves=12,
)  # fmt: skip


def play(book: Playbook, plaintexts: list[bytes]) -> None:
    """Let the server say these things, then let an hour pass; the owner reacts as it should."""
    for plaintext in plaintexts:
        if not book.connection.is_closed:
            book.feed(book.server.encode_plaintext(plaintext))
            book.settle()
            book.connection.finish_linking(bytes(32), book.now) if book.connection.can_offer_linking_code else None
    book.advance(100)
    assert all(isinstance(event, Event) for event in book.events)


@pytest.mark.parametrize("scene", SCENES)
def test_every_stanza_is_survived_at_every_time(scene: Callable[[], Playbook]) -> None:
    for plaintext in PLAINTEXTS:
        play(scene(), [plaintext])


@given(scenes, st.lists(mutated, min_size=1, max_size=3))
@settings(max_examples=150, deadline=None)
def test_mutated_stanzas_are_survived(scene: Callable[[], Playbook], plaintexts: list[bytes]) -> None:
    play(scene(), plaintexts)


@given(scenes, st.lists(nodes.map(encode_node), min_size=1, max_size=4))
@settings(max_examples=150, deadline=None)
def test_invented_stanzas_are_survived(scene: Callable[[], Playbook], plaintexts: list[bytes]) -> None:
    play(scene(), plaintexts)


@given(scenes, st.binary(max_size=200))
@example(connected, b"")
@settings(deadline=None)
def test_a_garbage_plaintext_is_survived(scene: Callable[[], Playbook], plaintext: bytes) -> None:
    play(scene(), [plaintext])


@given(st.sampled_from([None, ACCOUNT]), st.binary(max_size=300))
@settings(deadline=None)
def test_garbage_instead_of_a_handshake_is_a_protocol_error(account: Account | None, data: bytes) -> None:
    book = Playbook(account)
    book.connection.data_to_send()
    try:
        book.feed(data)
    except RemoteProtocolError:
        assert book.connection.is_closed
    assert book.events == []


@given(st.binary(min_size=3, max_size=300))
@settings(deadline=None)
def test_garbage_instead_of_frames_is_a_protocol_error(data: bytes) -> None:
    book = connected()
    seen = len(book.events)
    try:
        book.feed(data)
    except RemoteProtocolError:
        assert book.connection.is_closed
    assert len(book.events) == seen


@given(st.integers(0, 5000), st.integers(1, 255))
@settings(deadline=None)
def test_a_tampered_handshake_is_a_protocol_error(position: int, flip: int) -> None:
    book = Playbook.login()
    reply, _ = book.server.receive(book.connection.data_to_send())
    changed = bytearray(reply)
    changed[3 + position % (len(reply) - 3)] ^= flip
    try:
        book.feed(bytes(changed))
    except RemoteProtocolError:
        assert book.connection.is_closed
    else:
        # The change fell on something that protobuf skips; then it cannot have mattered.
        assert not book.connection.is_closed


@given(st.lists(st.sampled_from(PLAINTEXTS), max_size=8), st.lists(st.integers(1, 40), min_size=1))
@settings(deadline=None)
def test_any_pieces_equal_the_whole(plaintexts: list[bytes], sizes: list[int]) -> None:
    whole, pieces = logging_in(), logging_in()
    for book, cuts in ((whole, [10**6]), (pieces, sizes)):
        data = b"".join(book.server.encode_plaintext(plaintext) for plaintext in plaintexts)
        turn = 0
        while data:
            size = cuts[turn % len(cuts)]
            book.feed(data[:size])
            data, turn = data[size:], turn + 1
        book.settle()
    assert pieces.events == whole.events
    assert pieces.heard == whole.heard


def test_the_golden_stanzas_mean_something_somewhere() -> None:
    """The fuzz starts from stanzas that are understood: none is dropped in every scene."""
    for node, plaintext in zip(STANZAS, PLAINTEXTS, strict=True):
        understood = False
        for scene in SCENES:
            book = scene()
            book.events.clear()
            book.feed(book.server.encode_plaintext(plaintext))
            understood |= not any(isinstance(event, FrameDropped) for event in book.events)
        assert understood, node


def test_the_linking_scene_reaches_its_end() -> None:
    book = linking().serve(HELLO)
    book.connection.finish_linking(derive_key(CODE, SECRET.salt), book.now)
    book.settle()
    assert book.kinds()[-2:] == ["PrimaryHelloReceived", "AdvSecretAgreed"]
