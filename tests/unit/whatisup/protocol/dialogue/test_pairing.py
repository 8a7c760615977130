"""Pairing by QR and by linking code, with all that a server, a phone or a person can do wrong."""

from __future__ import annotations

import pytest

from tests.playbook import (
    CREDENTIALS,
    ENTROPY,
    KEYS,
    OWN,
    OWN_LID,
    PHONE,
    UNIX,
    CodePhone,
    Playbook,
    scan,
)
from whatisup.errors import LocalProtocolError
from whatisup.jid import SERVER
from whatisup.lifecycle import Trigger
from whatisup.protocol.adv import verify_device
from whatisup.protocol.credentials import Credentials
from whatisup.protocol.dialogue.pairing import MAX_OFFERS, MAX_TRIES
from whatisup.protocol.events import (
    AdvSecretAgreed,
    Closed,
    FrameDropped,
    LinkingCodeAccepted,
    LinkingCodeRefreshWanted,
    LinkingCodeRefused,
    Paired,
    PairingFailed,
    PairingOffered,
    PrimaryHelloReceived,
    QrIssued,
    RefsExhausted,
)
from whatisup.protocol.linking_code import (
    LinkingSecret,
    build_linking_ref,
    build_refresh_code,
    derive_key,
    parse_companion_finish,
    parse_companion_hello,
)
from whatisup.protocol.outcomes import build_stream_error
from whatisup.protocol.pairing import build_pair_device, parse_pair_device_sign, parse_qr
from whatisup.protocol.stanzas.iq import Refusal, build_error, is_answer, parse_refusal
from whatisup.wire import Node

REFS = tuple(f"2@ref{n}" for n in range(6))
LINKING = ("md", "link_code_companion_reg")
REF = b"linking-ref"
CODE = "119K5DT5"
PHONE_NUMBER = "15550001111"


def offered(refs: tuple[str, ...] = REFS) -> Playbook:
    return Playbook.registration().open().serve(build_pair_device("77", refs))


def refs_shown(book: Playbook) -> list[str]:
    return [parse_qr(event.code).ref for event in book.of(QrIssued)]


# QR codes


def test_pair_device_is_confirmed_and_shown() -> None:
    book = offered()
    (answer,) = book.heard
    assert answer.attrs == {"to": SERVER, "type": "result", "id": "77"}
    assert len(book.of(PairingOffered)) == 1
    assert book.connection.can_offer_linking_code


def test_qr_codes_carry_our_keys() -> None:
    code = parse_qr(offered().one(QrIssued).code)
    assert (code.ref, code.client_type) == (REFS[0], "1")
    keys = (CREDENTIALS.noise.public, CREDENTIALS.identity.public, CREDENTIALS.adv_secret)
    assert (code.noise_public, code.identity_public, code.adv_secret) == keys


def test_qr_codes_rotate_until_the_refs_are_used_up() -> None:
    book = offered()
    assert [event.expires_in_s for event in book.of(QrIssued)] == [60.0]
    book.advance(59.9)
    assert refs_shown(book) == [REFS[0]]
    book.advance(0.1)
    assert refs_shown(book) == list(REFS[:2])
    book.advance(99.9)
    assert refs_shown(book) == list(REFS)
    assert [event.expires_in_s for event in book.of(QrIssued)[1:]] == [20.0] * 5
    assert book.of(RefsExhausted) == []
    book.advance(0.1)
    assert book.of(RefsExhausted) == [RefsExhausted()]
    book.advance(300)
    assert len(book.of(RefsExhausted)) == 1
    assert not book.connection.is_closed


def test_a_single_ref_still_lives_60_seconds() -> None:
    book = offered(("only",)).advance(59)
    assert book.of(RefsExhausted) == []
    assert book.advance(1).of(RefsExhausted) == [RefsExhausted()]


def test_qr_codes_age_while_we_do_not_read() -> None:
    book = offered()
    book.connection.hold(book.now)
    book.advance(60)
    assert refs_shown(book) == list(REFS[:2])


def test_new_refs_replace_the_old() -> None:
    book = offered().advance(70).serve(build_pair_device("78", ("new",)))
    assert refs_shown(book)[-1] == "new"
    assert book.of(QrIssued)[-1].expires_in_s == 60.0
    assert len(book.of(PairingOffered)) == 1


def test_a_flood_of_refs_is_dropped() -> None:
    """Every QR becomes an event in the log."""
    book = offered()
    for number in range(100):
        book.serve(build_pair_device(f"9{number}", (f"ref{number}",)))
    assert len(book.of(QrIssued)) == MAX_OFFERS
    assert not book.connection.is_closed


def test_malformed_refs_are_dropped() -> None:
    book = offered(())
    assert book.kinds() == ["FrameDropped"]
    assert not book.connection.can_offer_linking_code


def test_a_login_connection_is_never_paired() -> None:
    book = Playbook.login().open().serve(build_pair_device("1", REFS), scan(CREDENTIALS, CREDENTIALS.adv_secret))
    assert book.kinds() == ["FrameDropped"] * 2
    assert book.heard == []


# The proof


def test_a_scan_pairs_us_after_the_commit() -> None:
    book = offered()
    book.commits = False
    book.serve(scan(CREDENTIALS, CREDENTIALS.adv_secret))
    paired = book.one(Paired)
    account = paired.account
    assert (account.jid, account.lid, account.key_index) == (OWN, OWN_LID, 3)
    assert (account.platform, account.business_name, paired.server_unix) == ("smba", "Shop", UNIX)
    assert account.primary_identity == PHONE.public
    assert len(book.heard) == 1  # the answer to pair-device
    book.connection.transmit(paired, book.now)
    book.settle()
    reply = book.heard[-1]
    assert is_answer(reply)
    assert reply.attrs["id"] == "99"
    identity, key_index = parse_pair_device_sign(reply)
    assert key_index == 3
    assert verify_device(identity, CREDENTIALS.identity.public, PHONE.public) == account.signed_identity


def test_a_hosted_scan_pairs_us() -> None:
    book = offered().serve(scan(CREDENTIALS, CREDENTIALS.adv_secret, is_hosted=True))
    assert book.one(Paired).account.jid == OWN


def test_after_pairing_the_server_asks_for_a_restart() -> None:
    book = offered().serve(scan(CREDENTIALS, CREDENTIALS.adv_secret), build_stream_error(515))
    assert book.one(Closed) == Closed(Trigger.RESTART_REQUIRED, 515)


def test_after_pairing_a_plain_close_means_the_same() -> None:
    book = offered().serve(scan(CREDENTIALS, CREDENTIALS.adv_secret))
    book.connection.connection_lost(book.now)
    book.settle()
    assert book.one(Closed) == Closed(Trigger.RESTART_REQUIRED)


def test_after_pairing_silence_means_the_same() -> None:
    book = offered().serve(scan(CREDENTIALS, CREDENTIALS.adv_secret)).advance(9.9)
    assert book.of(Closed) == []
    assert book.advance(0.1).one(Closed) == Closed(Trigger.RESTART_REQUIRED)


def test_after_pairing_no_qr_code_is_shown_and_no_code_requested() -> None:
    book = offered()
    book.commits = False
    book.serve(scan(CREDENTIALS, CREDENTIALS.adv_secret)).advance(200)
    assert refs_shown(book) == [REFS[0]]
    assert not book.connection.can_offer_linking_code


@pytest.mark.parametrize("again", [build_pair_device("1", REFS), scan(CREDENTIALS, CREDENTIALS.adv_secret)])
def test_after_pairing_nothing_pairs_again(again: Node) -> None:
    book = offered()
    book.commits = False
    book.serve(scan(CREDENTIALS, CREDENTIALS.adv_secret), again)
    assert len(book.of(Paired)) == 1
    assert len(book.of(FrameDropped)) == 1


def refused(node: Node) -> tuple[PairingFailed, Refusal | None]:
    book = offered().serve(node)
    assert book.of(Paired) == []
    return book.one(PairingFailed), parse_refusal(book.heard[-1])


def test_another_secret_is_refused() -> None:
    failed, answer = refused(scan(CREDENTIALS, bytes(32)))
    assert (failed.code, failed.text) == (401, "hmac-mismatch")
    assert answer == Refusal(401, "hmac-mismatch")


def test_unusable_addresses_are_refused() -> None:
    node = scan(CREDENTIALS, CREDENTIALS.adv_secret)
    body = Node("pair-success", {}, node.children()[0].children("device-identity"))
    failed, answer = refused(Node("iq", node.attrs, (body,)))
    assert (failed.code, failed.text) == (500, "internal-error")
    assert answer == Refusal(500, "internal-error")


# The linking code


class Linking:
    """A registration that has asked for a linking code, and the phone it is for."""

    def __init__(self, *, typed: str = CODE, ref: bytes | None = REF) -> None:
        self.book = offered()
        if ref is not None:
            self.book.answers[LINKING] = lambda request: build_linking_ref(request, ref)
        self.secret = LinkingSecret.derive(CODE, ENTROPY)
        self.book.connection.request_linking_code(PHONE_NUMBER, self.secret, self.book.now)
        self.book.settle()
        (self.request,) = self.book.requests("md")
        self.phone = CodePhone(parse_companion_hello(self.request), typed)

    def hello(self, ref: bytes = REF) -> Linking:
        self.book.serve(self.phone.hello(ref))
        return self

    def stretch(self) -> Linking:
        """The owner's answer to PrimaryHelloReceived."""
        salt = self.book.of(PrimaryHelloReceived)[-1].salt
        self.book.connection.finish_linking(derive_key(CODE, salt), self.book.now)
        self.book.settle()
        return self


def test_a_request_announces_us() -> None:
    linking = Linking()
    hello = parse_companion_hello(linking.request)
    assert (hello.phone, hello.noise_public) == (PHONE_NUMBER, CREDENTIALS.noise.public)
    assert hello.wrapped_ephemeral == linking.secret.wrapped_ephemeral
    assert linking.book.one(LinkingCodeAccepted).ref == REF


def test_a_refused_request_is_reported() -> None:
    book = offered()
    book.answers[LINKING] = lambda request: build_error(request, 400)
    book.connection.request_linking_code(PHONE_NUMBER, LinkingSecret.derive(CODE, ENTROPY), book.now)
    book.settle()
    assert book.one(LinkingCodeRefused) == LinkingCodeRefused(400, "bad-request")


@pytest.mark.parametrize(("leave", "code"), [(False, 500), (True, 408)])
def test_a_request_without_a_ref_is_refused(leave: bool, code: int) -> None:
    linking = Linking(ref=None)
    if leave:
        linking.book.events.clear()
        linking.book.connection.request_linking_code(PHONE_NUMBER, linking.secret, linking.book.now)
        del linking.book.answers[LINKING]
        linking.book.settle()
        linking.book.advance(60)
    assert linking.book.one(LinkingCodeRefused).code == code


def test_a_code_cannot_be_requested_before_pairing_is_offered() -> None:
    book = Playbook.registration().open()
    assert not book.connection.can_offer_linking_code
    with pytest.raises(LocalProtocolError):
        book.connection.request_linking_code(PHONE_NUMBER, LinkingSecret.derive(CODE, ENTROPY), book.now)


def test_a_code_is_for_a_phone_number() -> None:
    book = offered()
    with pytest.raises(LocalProtocolError):
        book.connection.request_linking_code("+1 555", LinkingSecret.derive(CODE, ENTROPY), book.now)


def test_a_code_requested_after_pairing_is_refused() -> None:
    book = offered()
    book.commits = False
    book.serve(scan(CREDENTIALS, CREDENTIALS.adv_secret))
    book.connection.request_linking_code(PHONE_NUMBER, LinkingSecret.derive(CODE, ENTROPY), book.now)
    book.settle()
    assert book.one(LinkingCodeRefused).code == 409


def test_the_whole_way_by_code() -> None:
    linking = Linking()
    book = linking.book
    book.commits = False
    linking.hello()
    hello = book.one(PrimaryHelloReceived)
    assert hello.salt == linking.phone.secret.salt
    assert book.tagged("ack") == []
    book.connection.transmit(hello, book.now)
    linking.stretch()
    agreed = book.one(AdvSecretAgreed)
    assert book.requests("md")[1:] == []  # not before the secret is committed
    book.connection.transmit(agreed, book.now)
    book.settle()
    assert [node.attrs["class"] for node in book.tagged("ack")] == ["notification"]
    finish = parse_companion_finish(book.requests("md")[1])
    assert (finish.phone, finish.ref) == (PHONE_NUMBER, REF)
    assert linking.phone.open(finish) == agreed.adv_secret
    # The ordinary proof follows, under the new secret.
    book.serve(scan(CREDENTIALS, agreed.adv_secret))
    assert book.one(Paired).account.jid == OWN


def test_a_wrong_code_leaves_the_qr_code_on_show_valid() -> None:
    linking = Linking(typed="ZZZZZZZZ").hello().stretch()
    assert linking.book.one(AdvSecretAgreed).adv_secret != CREDENTIALS.adv_secret
    linking.book.serve(scan(CREDENTIALS, parse_qr(linking.book.one(QrIssued).code).adv_secret))
    assert linking.book.one(Paired).account.jid == OWN


def test_after_a_code_a_third_secret_does_not_count() -> None:
    linking = Linking().hello().stretch()
    linking.book.serve(scan(CREDENTIALS, bytes(32)))
    assert linking.book.one(PairingFailed).text == "hmac-mismatch"


def test_after_a_code_the_next_qr_code_carries_the_new_secret() -> None:
    book = Linking().hello().stretch().book.advance(60)
    assert parse_qr(book.of(QrIssued)[-1].code).adv_secret == book.one(AdvSecretAgreed).adv_secret


def test_a_wrong_code_agrees_on_nothing() -> None:
    linking = Linking(typed="ZZZZZZZZ")
    linking.book.answers[LINKING] = lambda request: build_error(request, 400)
    linking.hello().stretch()
    assert linking.book.one(LinkingCodeRefused) == LinkingCodeRefused(400, "bad-request")


def test_a_finish_that_nobody_answers_is_refused() -> None:
    linking = Linking()
    del linking.book.answers[LINKING]
    linking.hello().stretch().book.advance(60)
    assert linking.book.one(LinkingCodeRefused).code == 408


def test_a_code_is_refused_by_the_end() -> None:
    linking = Linking()
    del linking.book.answers[LINKING]
    linking.hello().stretch().book.serve(build_stream_error(503))
    assert linking.book.kinds()[-2:] == ["LinkingCodeRefused", "Closed"]


@pytest.mark.parametrize("ref", [b"another", REF[:-1], REF + b"x"])
def test_a_hello_for_another_ref_is_acknowledged_and_dropped(ref: bytes) -> None:
    book = Linking().hello(ref).book
    assert book.of(PrimaryHelloReceived) == []
    assert len(book.of(FrameDropped)) == 1
    assert len(book.tagged("ack")) == 1


def test_a_hello_without_a_request_is_acknowledged_and_dropped() -> None:
    hello = Linking().phone.hello(REF)
    book = offered().serve(hello)
    assert book.of(PrimaryHelloReceived) == []
    assert len(book.tagged("ack")) == 1


def test_hellos_are_bounded() -> None:
    linking = Linking()
    for _ in range(MAX_TRIES + 3):
        linking.hello()
    assert len(linking.book.of(PrimaryHelloReceived)) == MAX_TRIES
    assert len(linking.book.tagged("ack")) == MAX_TRIES + 3


def test_a_second_hello_is_served_after_the_first() -> None:
    linking = Linking().hello()
    first = linking.phone
    linking.phone = CodePhone(parse_companion_hello(linking.request), CODE)
    linking.hello()
    book = linking.book
    for event in book.of(PrimaryHelloReceived):
        book.connection.finish_linking(derive_key(CODE, event.salt), book.now)
    book.settle()
    finishes = [parse_companion_finish(node) for node in book.requests("md")[1:]]
    secrets = [event.adv_secret for event in book.of(AdvSecretAgreed)]
    assert [first.open(finishes[0]), linking.phone.open(finishes[1])] == secrets


def test_a_hello_with_an_unusable_key_is_refused() -> None:
    linking = Linking().hello()
    book = linking.book
    hello = linking.phone.hello(REF)
    body = hello.children()[0]
    children = tuple(Node(c.tag, {}, bytes(32)) if c.tag == "primary_identity_pub" else c for c in body.children())
    book.serve(Node("notification", hello.attrs, (Node(body.tag, body.attrs, children),)))
    linking.stretch().stretch()
    assert book.one(LinkingCodeRefused) == LinkingCodeRefused(400, "unusable-key")


def test_finish_without_a_hello_does_nothing() -> None:
    linking = Linking()
    linking.book.connection.finish_linking(bytes(32), linking.book.now)
    linking.book.settle()
    assert linking.book.of(AdvSecretAgreed) == []


def test_a_new_request_replaces_the_old() -> None:
    linking = Linking()
    linking.book.answers[LINKING] = lambda request: build_linking_ref(request, b"ref2")
    linking.book.connection.request_linking_code(PHONE_NUMBER, linking.secret, linking.book.now)
    linking.book.settle()
    linking.hello(REF)
    assert linking.book.of(PrimaryHelloReceived) == []
    linking.hello(b"ref2")
    assert len(linking.book.of(PrimaryHelloReceived)) == 1


def test_the_answer_to_a_replaced_request_is_ignored() -> None:
    book = offered()
    del book.answers[LINKING]
    for _ in range(2):
        book.connection.request_linking_code(PHONE_NUMBER, LinkingSecret.derive(CODE, ENTROPY), book.now)
    book.settle()
    first, second = book.requests("md")
    book.serve(build_linking_ref(first, b"old"))
    assert book.of(LinkingCodeAccepted) == []
    book.serve(build_linking_ref(second, b"new"))
    assert book.one(LinkingCodeAccepted).ref == b"new"


def test_after_a_code_a_false_signature_is_called_so() -> None:
    linking = Linking().hello().stretch()
    secret = linking.book.one(AdvSecretAgreed).adv_secret
    other = Credentials.generate(ENTROPY, CREDENTIALS.root_public)
    linking.book.serve(scan(other, secret))
    assert linking.book.one(PairingFailed).text == "signature-mismatch"


def test_a_wish_for_another_code_is_reported() -> None:
    book = Linking().book.serve(build_refresh_code("r1", server_unix=UNIX))
    assert len(book.of(LinkingCodeRefreshWanted)) == 1
    assert [node.attrs["id"] for node in book.tagged("ack")] == ["r1"]


def test_the_qr_code_stays_valid_beside_the_code() -> None:
    book = Linking().book.serve(scan(CREDENTIALS, CREDENTIALS.adv_secret))
    assert len(book.of(Paired)) == 1
    book.serve(Node("notification", {"id": "1", "from": SERVER, "type": "x"}))


def test_linking_belongs_to_registrations() -> None:
    book = Playbook.login().let_in()
    with pytest.raises(LocalProtocolError):
        book.connection.request_linking_code(PHONE_NUMBER, LinkingSecret.derive(CODE, ENTROPY), book.now)
    with pytest.raises(LocalProtocolError):
        book.connection.finish_linking(KEYS["prekey1"].private, book.now)
