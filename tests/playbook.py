"""Dialogues between a client's `Connection` and a scripted server, in memory and on virtual time.

    book = Playbook.login()             # both ends, nothing exchanged yet
    book.open()                         # the handshake
    book.serve(build_success(...))      # the server says something; the connection's events collect in book.events
    book.advance(30)                    # virtual seconds, timer by timer

The server answers requests by the table `answers`, keyed by (xmlns, first child's tag); what a test takes out of it
stays unanswered. Everything the server heard is in `book.heard`. Events are committed at once unless a test says
otherwise.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

from whatisup.crypto import KeyPair, generate_keypair, keypair_from_private
from whatisup.jid import Jid
from whatisup.protocol import linking_code
from whatisup.protocol.adv import sign_device
from whatisup.protocol.connection import Connection
from whatisup.protocol.credentials import Account, ClientProfile, Credentials
from whatisup.protocol.dialogue.ration import PrekeyRation
from whatisup.protocol.events import Event
from whatisup.protocol.outcomes import build_success
from whatisup.protocol.pairing import PairSuccess, build_pair_success
from whatisup.protocol.prekeys import PublicIdentity, build_count, build_digest
from whatisup.protocol.stanzas.iq import build_result, is_answer
from whatisup.protocol.stanzas.query import Props, build_blocklist, build_privacy, build_props
from whatisup.wire import (
    FrameDecoder,
    Node,
    PrologueDecoder,
    ServerHandshake,
    Transport,
    decode_node,
    encode_frame,
    encode_node,
    mint_chain,
)

UNIX = 1_750_000_000
"""The wall clock when a playbook's monotonic clock reads 0."""

OWN = Jid("15550001111", "s.whatsapp.net", 7)
OWN_LID = Jid("100000011111", "lid", 7)
ACCOUNT = Account(OWN, OWN_LID, b"signed", bytes(32), 1, "android")

E = TypeVar("E", bound=Event)
Answer = Callable[[Node], Node]


def seeded(seed: int) -> Callable[[int], bytes]:
    return random.Random(seed).randbytes


ENTROPY = seeded(1)
ROOT = generate_keypair(ENTROPY)
INTERMEDIATE = generate_keypair(ENTROPY)
STATIC = generate_keypair(ENTROPY)
PHONE = generate_keypair(ENTROPY)
CREDENTIALS = Credentials.generate(ENTROPY, ROOT.public)
IDENTITY = PublicIdentity.of(CREDENTIALS)


class Server:
    """The other end of the wire: prologue, handshake, frames."""

    def __init__(self, *, static: KeyPair = STATIC, chain: bytes | None = None) -> None:
        chain = chain or mint_chain(
            ROOT,
            INTERMEDIATE,
            static.public,
            not_before=UNIX - 10**7,
            not_after=UNIX + 10**8,
            entropy=ENTROPY,
        )
        self.handshake = ServerHandshake(static, chain, ENTROPY)
        self.routing_info: bytes | None = None
        self.payload = b""
        self.transport: Transport | None = None
        self._prologue: PrologueDecoder | None = PrologueDecoder()
        self._header = b""
        self._decoder = FrameDecoder()
        self._is_greeted = False

    def receive(self, data: bytes) -> tuple[bytes, list[Node]]:
        """Take bytes from the client: what to answer during the handshake, and the nodes after it."""
        if self._prologue is not None:
            opened = self._prologue.feed(data)
            assert opened is not None
            prologue, data = opened
            self._prologue, self._header, self.routing_info = None, prologue.header, prologue.routing_info
        self._decoder.receive_data(data)
        reply, nodes = b"", []
        while (frame := self._decoder.next_frame()) is not None:
            if self.transport is not None:
                nodes.append(decode_node(self.transport.decrypt(frame)))
            elif not self._is_greeted:
                reply, self._is_greeted = self.handshake.reply(self._header, frame), True
            else:
                result, self.transport = self.handshake.complete(frame)
                self.payload = result.payload
        return reply, nodes

    def encode(self, *nodes: Node) -> bytes:
        return b"".join(self.encode_plaintext(encode_node(node)) for node in nodes)

    def encode_plaintext(self, plaintext: bytes) -> bytes:
        assert self.transport is not None
        return encode_frame(self.transport.encrypt(plaintext))


def standard_answers(count: int = 812) -> dict[tuple[str, str], Answer]:
    """What an obliging server answers."""
    return {
        ("encrypt", "count"): lambda request: build_count(request, count),
        ("encrypt", "registration"): build_result,
        ("encrypt", "rotate"): build_result,
        ("encrypt", "digest"): lambda request: build_digest(request, IDENTITY, [(1, bytes(32))]),
        ("passive", "active"): build_result,
        ("abt", "props"): lambda request: build_props(request, Props("h2", {})),
        ("blocklist", ""): build_blocklist,
        ("privacy", "privacy"): lambda request: build_privacy(request, {"last": "all"}),
        ("w:p", "ping"): lambda request: build_result(request, server_unix=UNIX),
        ("md", "remove-companion-device"): build_result,
        ("md", "link_code_companion_reg"): build_result,
    }


class Playbook:
    """A connection, its server, and the time between them."""

    def __init__(
        self,
        account: Account | None,
        *,
        credentials: Credentials = CREDENTIALS,
        server: Server | None = None,
        seed: int = 7,
        routing_info: bytes | None = None,
        props_hash: str | None = None,
        unix_now: float = UNIX,
        ration: PrekeyRation | None = None,
    ) -> None:
        self.now = 0.0
        self.server = server or Server()
        self.answers = standard_answers()
        self.heard: list[Node] = []
        self.events: list[Event] = []
        self.commits = True
        self.is_silent = False
        self.connection = Connection(
            credentials,
            account,
            profile=ClientProfile(),
            entropy=seeded(seed),
            now=self.now,
            unix_now=unix_now,
            routing_info=routing_info,
            props_hash=props_hash,
            ration=ration,
        )

    @classmethod
    def login(cls, **options: Any) -> Playbook:
        return cls(ACCOUNT, **options)

    @classmethod
    def registration(cls, **options: Any) -> Playbook:
        return cls(None, **options)

    # The wire

    def open(self) -> Playbook:
        """Do the handshake."""
        self.settle()
        return self

    def settle(self) -> None:
        """Carry bytes both ways until neither end has anything to say."""
        self.collect()
        while data := self.connection.data_to_send():
            if self.is_silent:
                continue
            reply, nodes = self.server.receive(data)
            self.heard += nodes
            if reply:
                self.feed(reply)
            for node in nodes:
                answer = self.answer_to(node)
                if answer is not None:
                    self.feed(self.server.encode(answer))

    def answer_to(self, node: Node) -> Node | None:
        if node.tag != "iq" or is_answer(node):
            return None
        first = node.first
        answer = self.answers.get((str(node.attrs.get("xmlns")), "" if first is None else first.tag))
        return None if answer is None else answer(node)

    def feed(self, data: bytes) -> None:
        """Give the connection these bytes."""
        self.connection.receive_data(data, self.now)
        self.collect()

    def collect(self) -> None:
        """Take what events there are, committing each if so inclined."""
        while (event := self.connection.next_event()) is not None:
            self.events.append(event)
            if self.commits:
                self.connection.transmit(event, self.now)

    def serve(self, *nodes: Node) -> Playbook:
        """Let the server say something, and both ends react."""
        self.feed(self.server.encode(*nodes))
        self.settle()
        return self

    def advance(self, seconds: float) -> Playbook:
        """Let time pass, stopping at every deadline on the way."""
        until = self.now + seconds
        while (deadline := self.connection.next_deadline()) is not None and deadline <= until:
            self.now = max(self.now, deadline)
            self.connection.handle_timer(self.now)
            self.settle()
        self.now = until
        return self

    # What was seen

    def of(self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind)]

    def one(self, kind: type[E]) -> E:
        found = self.of(kind)
        assert len(found) == 1, f"{len(found)} of {kind.__name__} in {self.events}"
        return found[0]

    def kinds(self) -> list[str]:
        return [type(event).__name__ for event in self.events]

    def requests(self, xmlns: str, first: str | None = None) -> list[Node]:
        return [
            node
            for node in self.heard
            if node.tag == "iq"
            and node.attrs.get("xmlns") == xmlns
            and (first is None or (node.first is not None and node.first.tag == first))
        ]

    def tagged(self, tag: str) -> list[Node]:
        return [node for node in self.heard if node.tag == tag]

    # Whole scenes

    def let_in(self, lid: Jid = OWN_LID) -> Playbook:
        """Handshake and accept the login."""
        return self.open().serve(build_success(lid, UNIX))


def scan(credentials: Credentials, adv_secret: bytes, *, phone: KeyPair = PHONE, is_hosted: bool = False) -> Node:
    """What the server sends when the phone has scanned a code with that secret."""
    envelope = sign_device(
        phone,
        credentials.identity.public,
        adv_secret,
        raw_id=5,
        key_index=3,
        now=UNIX,
        entropy=ENTROPY,
        is_hosted=is_hosted,
    )
    return build_pair_success("99", PairSuccess(envelope, OWN, OWN_LID, "smba", "Shop", UNIX))


class CodePhone:
    """The phone's side of a linking code, as a person with the right (or wrong) code in hand drives it."""

    def __init__(self, hello: linking_code.CompanionHello, code: str) -> None:
        self.companion_ephemeral = linking_code.unwrap_ephemeral(
            hello.wrapped_ephemeral, linking_code.derive_key(code, linking_code.salt_of(hello.wrapped_ephemeral))
        )
        self.secret = linking_code.LinkingSecret.derive(code, ENTROPY)

    def hello(self, ref: bytes) -> Node:
        primary = linking_code.PrimaryHello(self.secret.wrapped_ephemeral, PHONE.public, ref)
        return linking_code.build_primary_hello("88", primary, server_unix=UNIX)

    def open(self, finish: linking_code.CompanionFinish) -> bytes:
        return linking_code.open_bundle(
            finish.bundle, self.secret.ephemeral, PHONE, self.companion_ephemeral, finish.companion_identity
        )


def mutations(plaintext: bytes, positions: Iterable[tuple[int, int]]) -> bytes:
    """The same bytes with some changed: (position, new value), wrapped to the length."""
    changed = bytearray(plaintext)
    for position, value in positions:
        changed[position % len(changed)] = value
    return bytes(changed)


def travel(node: Node) -> Node:
    """The node as the other end reads it."""
    return decode_node(encode_node(node))


VECTORS = json.loads((Path(__file__).parent / "vectors" / "transport.json").read_text("utf-8"))
"""Golden values from outside; see the README beside them."""

KEYS = {name: keypair_from_private(bytes.fromhex(pair["priv"])) for name, pair in VECTORS["keys"].items()}


def golden(group: str, name: str) -> bytes:
    """One binary value of the vectors; `name` without its `_hex`, dots going deeper."""
    value = VECTORS[group]
    *path, last = name.split(".")
    for step in path:
        value = value[step]
    return bytes.fromhex(value[f"{last}_hex"])
