"""Linking a companion, as dialogues between the server, the simulated phone and a client."""

from __future__ import annotations

from dataclasses import replace

import pytest
import trio

from tests.unit.whatisup.sandbox.bench import NUMBER, Bench, Device, Raw, make_bench
from whatisup.lifecycle import Trigger
from whatisup.protocol.adv import verify_pairing
from whatisup.protocol.credentials import Credentials
from whatisup.protocol.events import (
    LinkingCodeAccepted,
    LinkingCodeRefused,
    NotificationReceived,
    Paired,
    PrimaryHelloReceived,
    QrIssued,
)
from whatisup.protocol.linking_code import (
    CompanionFinish,
    CompanionHello,
    LinkingSecret,
    build_companion_finish,
    build_companion_hello,
    companion_hello,
    derive_key,
    parse_primary_hello,
    salt_of,
    seal_bundle,
    unwrap_ephemeral,
)
from whatisup.protocol.pairing import (
    build_pair_device_sign,
    build_qr,
    parse_pair_device,
    parse_pair_success,
    parse_qr,
)
from whatisup.protocol.payloads import build_registration
from whatisup.protocol.profile import ClientProfile
from whatisup.protocol.stanzas.iq import build_error
from whatisup.protocol.stanzas.logout import parse_devices_notification
from whatisup.sandbox import phone
from whatisup.sandbox.accounts import device_hash, number_and_lid_of_name
from whatisup.sandbox.entropy import Seed
from whatisup.sandbox.hub import Ending
from whatisup.sandbox.pairing import CODE_S, OFFER_S, Outcome
from whatisup.sandbox.refusal import Refused
from whatisup.wire import Node

CODE = "ABCD1234"


@pytest.fixture
def bench() -> Bench:
    bench = make_bench()
    bench.server.pairing.create_account(NUMBER, "Ada")
    return bench


def offered(bench: Bench, name: str = "device") -> Device:
    device = bench.device(name)
    device.plug()
    device.pump()
    return device


def scan(bench: Bench, qr: str, number: str = NUMBER) -> Outcome:
    return bench.server.pairing.scan(bench.server.pairing.account(number), qr)


async def outcome_of(outcome: Outcome) -> Refused | int:
    try:
        return (await outcome.wait(0)).device
    except Refused as refused:
        return refused


# by QR


def test_offer_has_six_references_as_bytes_in_one_child(bench: Bench) -> None:
    (offer,) = Raw.registering(bench).received()
    assert [child.tag for child in offer.children()] == ["pair-device"]
    (body,) = offer.children()
    assert all(isinstance(ref.content, bytes) for ref in body.children())
    assert len(set(parse_pair_device(offer))) == 6


async def test_scan_links_the_companion_and_restarts_it(bench: Bench) -> None:
    device = offered(bench)
    outcome = scan(bench, device.last(QrIssued).code)
    device.pump()
    assert device.last(Paired).account.phone_number == NUMBER
    assert device.closed.trigger is Trigger.RESTART_REQUIRED
    assert await outcome_of(outcome) == 1
    (companion,) = bench.hub.state.companions(NUMBER)
    assert companion.noise_public == device.credentials.noise.public
    assert companion.public.registration_id == device.credentials.registration_id


async def test_scan_of_each_reference_works(bench: Bench) -> None:
    raw = Raw.registering(bench)
    registration = raw.client.registration
    assert registration is not None
    code = parse_qr(offered(bench).last(QrIssued).code)
    own = replace(code, noise_public=raw.client.noise_public, identity_public=registration.identity.identity)
    scan(bench, build_qr(replace(own, ref=raw.client.refs[-1])))
    assert "pair-success" in [child.tag for node in raw.received() for child in node.children()]


def test_pair_success_says_who_the_companion_is_now(bench: Bench) -> None:
    device = offered(bench)
    raw = Raw.registering(bench)
    raw.received()
    outcome = Outcome()
    account = bench.server.pairing.account(NUMBER)
    bench.server.pairing._begin(raw.client, account, b"a" * 32, outcome)
    (stanza,) = raw.received()
    success = parse_pair_success(stanza)
    assert (success.jid, success.lid) == (account.pn_jid.with_device(1), account.lid_jid.with_device(1))
    assert success.server_unix == int(bench.unix)
    assert [child.tag for child in stanza.children()] == ["pair-success"]
    assert device.account is None


def test_scan_of_no_qr_is_refused(bench: Bench) -> None:
    with pytest.raises(Refused) as caught:
        scan(bench, "https://example.org")
    assert (caught.value.status, caught.value.code) == (400, "bad_qr")


def test_scan_of_a_stale_qr_is_refused(bench: Bench) -> None:
    device = offered(bench)
    qr = device.last(QrIssued).code
    assert device.client is not None
    bench.server.disconnected(device.client)
    with pytest.raises(Refused) as caught:
        scan(bench, qr)
    assert (caught.value.status, caught.value.code) == (404, "unknown_ref")


def test_scan_uses_a_reference_up(bench: Bench) -> None:
    device = offered(bench)
    scan(bench, device.last(QrIssued).code)
    with pytest.raises(Refused) as caught:
        scan(bench, device.last(QrIssued).code)
    assert caught.value.code == "unknown_ref"


def test_scan_of_a_reference_with_other_keys_is_refused(bench: Bench) -> None:
    code = parse_qr(offered(bench).last(QrIssued).code)
    with pytest.raises(Refused) as caught:
        scan(bench, build_qr(replace(code, identity_public=b"i" * 32)))
    assert (caught.value.status, caught.value.code) == (409, "qr_mismatch")


async def test_scan_with_another_secret_is_refused_by_the_companion(bench: Bench) -> None:
    device = offered(bench)
    code = parse_qr(device.last(QrIssued).code)
    outcome = scan(bench, build_qr(replace(code, adv_secret=b"x" * 32)))
    device.pump()
    refused = await outcome_of(outcome)
    assert isinstance(refused, Refused)
    assert refused.code == "companion_refused"
    assert bench.hub.state.companions(NUMBER) == []
    assert device.client is not None
    assert device.client.ending is Ending.CLOSE


async def test_companion_that_goes_away_is_not_linked(bench: Bench) -> None:
    device = offered(bench)
    outcome = scan(bench, device.last(QrIssued).code)
    assert device.client is not None
    bench.server.disconnected(device.client)
    refused = await outcome_of(outcome)
    assert isinstance(refused, Refused)
    assert refused.code == "companion_gone"
    assert bench.hub.state.companions(NUMBER) == []


async def test_companion_that_says_nothing_times_out(autojump_clock: trio.testing.MockClock) -> None:
    with pytest.raises(Refused) as caught:
        await Outcome().wait(20)
    assert (caught.value.status, caught.value.code) == (504, "companion_silent")
    assert trio.current_time() >= 20


@pytest.mark.parametrize("fake", ["index", "identity", "signature", "error"])
async def test_companion_that_answers_wrongly_is_not_linked(bench: Bench, fake: str) -> None:
    raw = Raw.registering(bench)
    raw.received()
    device = bench.device("raw")  # only for its entropy
    registration = raw.client.registration
    assert registration is not None
    outcome = Outcome()
    bench.server.pairing._begin(raw.client, bench.server.pairing.account(NUMBER), b"a" * 32, outcome)
    (request,) = raw.received()
    raw.send(_wrong_answer(bench, request, fake, device))
    refused = await outcome_of(outcome)
    assert isinstance(refused, Refused)
    assert refused.code == "companion_refused"
    assert bench.hub.state.companions(NUMBER) == []
    assert raw.client.ending is Ending.CLOSE


def _wrong_answer(bench: Bench, request: Node, fake: str, device: Device) -> Node:
    if fake == "error":
        return build_error(request, 401, "hmac-mismatch")
    # The identity of `Raw.registering(bench)` is made from the same stream.
    credentials = Credentials.generate(Seed.of(8).stream("raw"), bench.root_public)
    entropy = Seed.of(9).stream("x")
    envelope = parse_pair_success(request).device_identity
    if fake == "identity":
        account = bench.server.pairing.account(NUMBER)
        envelope = phone.sign_companion(account, credentials.identity.public, b"a" * 32, 99, 1, entropy)
    identity = device.credentials.identity if fake == "signature" else credentials.identity
    if fake == "signature":
        # A countersignature by another key.
        account = bench.server.pairing.account(NUMBER)
        envelope = phone.sign_companion(account, identity.public, b"a" * 32, 1, 1, entropy)
    signed = verify_pairing(envelope, identity, b"a" * 32, entropy)
    return build_pair_device_sign(request, signed.reply, 7 if fake == "index" else 1)


def test_second_companion_gets_the_next_numbers_and_the_first_one_hears_of_it(bench: Bench) -> None:
    first = bench.linked()
    first.log_in()
    second = bench.linked(name="second")
    assert second.account is not None
    assert (second.account.jid.device, second.account.key_index) == (2, 2)
    first.pump()
    listed = parse_devices_notification(first.last(NotificationReceived).node)
    assert [entry.key_index for entry in listed.devices] == [None, 1, 2]
    assert listed.device_hash == device_hash([entry.jid for entry in listed.devices])


def test_device_number_is_reused_and_key_index_never(bench: Bench) -> None:
    bench.linked()
    companion = bench.hub.state.companion(NUMBER, 1)
    assert companion is not None
    bench.hub.unlink(companion)
    again = bench.linked(name="again")
    assert again.account is not None
    assert (again.account.jid.device, again.account.key_index) == (1, 2)


def test_two_scans_at_once_reserve_two_numbers(bench: Bench) -> None:
    one, two = offered(bench, "one"), offered(bench, "two")
    for device in (one, two):
        scan(bench, device.last(QrIssued).code)
    for device in (one, two):
        device.pump()
    assert [companion.device for companion in bench.hub.state.companions(NUMBER)] == [1, 2]


def test_references_expire_by_time(bench: Bench) -> None:
    device = offered(bench)
    qr = device.last(QrIssued).code
    bench.hands.now += OFFER_S - 1
    bench.server.tick()
    assert device.client is not None
    assert device.client.ending is None
    bench.hands.now += 2
    bench.server.tick()
    device.pump()
    assert device.client.ending is Ending.CLOSE
    with pytest.raises(Refused):
        scan(bench, qr)


def test_push_name_chooses_the_account_for_the_mock_phone(bench: Bench) -> None:
    device = offered(bench)
    assert device.client is not None
    device.client.push_name = "Ada"
    account = bench.server.pairing.account_of(device.client)
    assert (account.number, account.lid) == number_and_lid_of_name(b"Ada")
    assert bench.server.pairing.account_of(device.client) == account


def test_identity_key_stands_in_for_a_missing_push_name(bench: Bench) -> None:
    device = offered(bench)
    assert device.client is not None
    account = bench.server.pairing.account_of(device.client)
    assert account.number == number_and_lid_of_name(device.credentials.identity.public)[0]


# accounts


def test_account_numbers_follow_the_seed() -> None:
    numbers = [
        [make_bench(seed=seed).server.pairing.create_account(None, None).number for _ in (1,)] for seed in (1, 1, 2)
    ]
    assert numbers[0] == numbers[1] != numbers[2]
    bench = make_bench()
    assert len({bench.server.pairing.create_account(None, None).number for _ in range(20)}) == 20


def test_account_keys_follow_the_seed_and_the_number() -> None:
    one, again, other = (make_bench(seed=seed).server.pairing.create_account(NUMBER, None) for seed in (1, 1, 2))
    assert one.identity == again.identity
    assert one.identity != other.identity


def test_account_number_is_given_once(bench: Bench) -> None:
    with pytest.raises(Refused) as caught:
        bench.server.pairing.create_account(NUMBER, None)
    assert (caught.value.status, caught.value.code) == (409, "number_taken")


# by linking code


def ask_for_code(device: Device, phone_number: str = NUMBER) -> LinkingSecret:
    secret = LinkingSecret.derive(CODE, device.bench.hub.seed.stream("secret"))
    assert device.connection is not None
    device.connection.request_linking_code(phone_number, secret, device.bench.hands.now)
    device.pump()
    return secret


def type_code(bench: Bench, code: str = CODE) -> Outcome:
    pairing = bench.server.pairing
    attempt = pairing.attempt_for(NUMBER)
    typed = phone.type_code(attempt.account, code, attempt.hello, attempt.ref, bench.hub.seed.stream("phone"))
    return pairing.typed(attempt, typed)


def finish(device: Device) -> None:
    assert device.connection is not None
    device.pump()
    salt = device.last(PrimaryHelloReceived).salt
    device.connection.finish_linking(derive_key(CODE, salt), device.bench.hands.now)
    device.pump()


async def test_linking_code_links_the_phone_it_names(bench: Bench) -> None:
    device = offered(bench)
    ask_for_code(device)
    assert device.saw(LinkingCodeAccepted)
    outcome = type_code(bench)
    finish(device)
    assert await outcome_of(outcome) == 1
    assert device.account is not None
    assert device.account.phone_number == NUMBER
    assert device.closed.trigger is Trigger.RESTART_REQUIRED


async def test_wrong_linking_code_links_nothing_and_may_be_typed_again(bench: Bench) -> None:
    device = offered(bench)
    ask_for_code(device)
    outcome = type_code(bench, "WRNG1234")
    finish(device)
    refused = await outcome_of(outcome)
    assert isinstance(refused, Refused)
    assert (refused.status, refused.code) == (409, "wrong_code")
    assert device.last(LinkingCodeRefused).code == 400
    assert bench.hub.state.companions(NUMBER) == []
    assert bench.server.pairing.attempt_for(NUMBER).typed is None


def test_linking_code_for_an_unknown_phone_is_refused(bench: Bench) -> None:
    device = offered(bench)
    ask_for_code(device, "999000000099")
    assert device.last(LinkingCodeRefused).code == 404


async def test_linking_code_outlives_the_companions_socket(bench: Bench) -> None:
    credentials = Credentials.generate(Seed.of(8).stream("raw"), bench.root_public)
    entropy = Seed.of(9).stream("companion")
    secret = LinkingSecret.derive(CODE, entropy)
    raw = Raw.registering(bench)
    raw.send(build_companion_hello("1.1-1", companion_hello(NUMBER, secret, raw.client.noise_public, ClientProfile())))
    bench.server.disconnected(raw.client)
    outcome = type_code(bench)

    # The companion is back with the same keys on another connection, and finishes there.
    again = Raw.registering(bench)
    hello = parse_primary_hello(next(node for node in again.received() if node.tag == "notification"))
    ephemeral = unwrap_ephemeral(hello.wrapped_ephemeral, derive_key(CODE, salt_of(hello.wrapped_ephemeral)))
    identity = credentials.identity
    bundle, adv_secret = seal_bundle(secret.ephemeral, identity, ephemeral, hello.primary_identity, entropy)
    again.send(build_companion_finish("1.1-2", CompanionFinish(NUMBER, bundle, identity.public, hello.ref)))
    result, request = again.received()
    assert result.attrs["type"] == "result"
    signed = verify_pairing(parse_pair_success(request).device_identity, identity, adv_secret, entropy)
    again.send(build_pair_device_sign(request, signed.reply, signed.key_index))
    assert await outcome_of(outcome) == 1


def test_linking_code_expires(bench: Bench) -> None:
    ask_for_code(offered(bench))
    bench.hands.now += CODE_S + 1
    bench.server.tick()
    with pytest.raises(Refused) as caught:
        bench.server.pairing.attempt_for(NUMBER)
    assert (caught.value.status, caught.value.code) == (404, "no_code_expected")


def test_new_linking_code_for_a_phone_replaces_the_old_one(bench: Bench) -> None:
    ask_for_code(offered(bench, "one"))
    first = bench.server.pairing.attempt_for(NUMBER)
    ask_for_code(offered(bench, "two"))
    assert bench.server.pairing.attempt_for(NUMBER) is not first


@pytest.mark.parametrize("display", ["", "Chrome", "Chrome ()", "(Mac OS)", "x" * 60 + " (Mac OS)"])
def test_linking_code_wants_a_proper_display_name(bench: Bench, display: str) -> None:
    raw = Raw.registering(bench)
    raw.received()
    hello = CompanionHello(NUMBER, b"w" * 80, raw.client.noise_public, "1", display)
    raw.send(build_companion_hello("1.1-1", hello))
    (answer,) = raw.received()
    assert answer.attrs["type"] == "error"
    error = answer.child("error")
    assert error is not None
    assert error.attrs["code"] == "400"


def test_linking_code_of_another_noise_key_is_refused(bench: Bench) -> None:
    raw = Raw.registering(bench)
    raw.received()
    raw.send(build_companion_hello("1.1-1", CompanionHello(NUMBER, b"w" * 80, b"n" * 32, "1", "Chrome (Mac OS)")))
    (answer,) = raw.received()
    assert answer.attrs["type"] == "error"


def test_request_that_cannot_be_read_gets_an_error(bench: Bench) -> None:
    raw = Raw.registering(bench)
    answer = raw.ask("set", "md", Node("link_code_companion_reg", {"stage": "companion_hello"}))
    assert answer.attrs["type"] == "error"


def test_newcomer_may_ping_and_ask_nothing_else(bench: Bench) -> None:
    raw = Raw.registering(bench)
    assert raw.ask("get", "w:p", Node("ping")).attrs["t"] == str(int(bench.unix))
    error = raw.ask("get", "encrypt", Node("count")).child("error")
    assert error is not None
    assert error.attrs["code"] == "401"


def test_registration_with_a_bad_signature_is_refused(bench: Bench) -> None:
    credentials = Credentials.generate(Seed.of(8).stream("raw"), bench.root_public)
    broken = credentials.with_signed_prekey(replace(credentials.signed_prekey, signature=b"s" * 64))
    (failure,) = Raw(bench, broken, build_registration(broken, ClientProfile())).received()
    assert (failure.tag, failure.attrs["reason"]) == ("failure", "400")
