"""The flaky receiver: it answers as its seed says, notes what it got, and sees what is wrong with a request."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections import Counter
from collections.abc import Iterator

import h11
import pytest
import trio

from tests.chaos.receiver import HOST, TAKEN, Receiver, Reply, Temper, open_receiver

SECRET = "whsec_" + base64.b64encode(b"k" * 32).decode()
BOUND_S = 5.0


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with open_receiver(seed=1) as opened:
        opened.secrets["strict"] = SECRET
        yield opened


def signed(envelope: dict[str, object], *, at: int | None = None, secret: str = SECRET) -> tuple[dict[str, str], bytes]:
    """A delivery with nothing wrong, signed now or at another time, with the right or another secret."""
    body, unix_s = json.dumps(envelope).encode(), str(int(time.time()) if at is None else at)
    event_id = str(envelope["event_id"])
    first = hmac.new(secret.encode(), f"{unix_s}.".encode() + body, hashlib.sha256).hexdigest()
    key = base64.b64decode(secret.removeprefix("whsec_"))
    second = hmac.new(key, f"{event_id}.{unix_s}.".encode() + body, hashlib.sha256).digest()
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "whatisup-webhooks/0.1.0",
        "X-WhatIsUp-Signature": f"t={unix_s},v1={first}",
        "X-WhatIsUp-Event": str(envelope["event"]),
        "X-WhatIsUp-Event-Id": event_id,
        "webhook-id": event_id,
        "webhook-timestamp": unix_s,
        "webhook-signature": f"v1,{base64.b64encode(second).decode()}",
    }
    return headers, body


def envelope_of(number: int) -> dict[str, object]:
    return {"event": "message.sent", "event_id": f"evt_{number}", "instance_id": "inst_1", "seq": number, "data": {}}


async def post(receiver: Receiver, headers: dict[str, str], body: bytes, path: str = "/strict") -> bytes:
    """All that comes back until the receiver hangs up."""
    http = h11.Connection(h11.CLIENT)
    fields = [("Host", HOST), ("Content-Length", str(len(body))), ("Connection", "close"), *headers.items()]
    events = (h11.Request(method="POST", target=path, headers=fields), h11.Data(body), h11.EndOfMessage())
    with trio.fail_after(BOUND_S):
        async with await trio.open_tcp_stream(HOST, receiver.port) as stream:
            await stream.send_all(b"".join(http.send(event) or b"" for event in events))
            return b"".join([bytes(chunk) async for chunk in stream])


@pytest.mark.parametrize(
    ("reply", "begins", "is_taken"),
    [
        (Reply.OK, b"HTTP/1.1 200", True),
        (Reply.OK_AND_GONE, b"HTTP/1.1 200", True),
        (Reply.OK_AND_TORN, b"HTTP/1.1 200", True),
        (Reply.ERROR, b"HTTP/1.1 500", False),
        (Reply.BUSY, b"HTTP/1.1 503", False),
        (Reply.REDIRECT, b"HTTP/1.1 302", False),
        (Reply.TORN, b"HTTP/1.1 200", False),
    ],
)
async def test_receiver_answers_as_drawn_and_notes_what_it_took(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch, reply: Reply, begins: bytes, is_taken: bool
) -> None:
    monkeypatch.setattr(Temper, "meet", lambda *_: reply)
    answer = await post(receiver, *signed(envelope_of(1)))
    assert answer.startswith(begins)
    assert (b"\r\n\r\n" in answer) is (reply is not Reply.TORN)
    assert (f"Location: {receiver.url('trap')}".encode() in answer) is (reply is Reply.REDIRECT)
    (hit,) = receiver.hits
    assert (hit.endpoint, hit.event_id, hit.reply, hit.is_taken, hit.problems) == (
        "strict",
        "evt_1",
        reply,
        is_taken,
        (),
    )


async def test_receiver_says_garbage_where_garbage_is_drawn(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Temper, "meet", lambda *_: Reply.GARBAGE)
    answer = await post(receiver, *signed(envelope_of(1)))
    assert answer
    assert not answer.startswith(b"HTTP/")


async def test_receiver_hangs_until_the_other_side_leaves(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Temper, "meet", lambda *_: Reply.HANG)
    with pytest.raises(trio.TooSlowError), trio.fail_after(0.2):
        await post(receiver, *signed(envelope_of(1)))
    monkeypatch.setattr(Temper, "meet", lambda *_: Reply.OK)
    assert (await post(receiver, *signed(envelope_of(1)))).startswith(b"HTTP/1.1 200")
    assert [hit.is_taken for hit in receiver.hits] == [False, True]


async def test_receiver_takes_several_requests_on_one_connection(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Temper, "meet", lambda *_: Reply.OK)
    headers, body = signed(envelope_of(1))
    head = "".join(f"{name}: {value}\r\n" for name, value in {**headers, "Content-Length": len(body)}.items())
    request = f"POST /strict HTTP/1.1\r\nHost: {HOST}\r\n{head}\r\n".encode() + body
    with trio.fail_after(BOUND_S):
        async with await trio.open_tcp_stream(HOST, receiver.port) as stream:
            for _ in range(3):
                await stream.send_all(request)
                assert (await stream.receive_some()).startswith(b"HTTP/1.1 200")
    assert len(receiver.hits) == 3


async def test_receiver_notes_a_redirect_that_was_followed_and_what_is_no_event(receiver: Receiver) -> None:
    await post(receiver, *signed(envelope_of(1)), path="/trap")
    await post(receiver, {}, b"not json")
    assert receiver.strays == ["POST /trap", "POST /strict (not an event)"]
    assert receiver.hits == []


async def test_receiver_takes_nothing_of_a_request_that_was_cut(receiver: Receiver) -> None:
    with trio.fail_after(BOUND_S):
        async with await trio.open_tcp_stream(HOST, receiver.port) as stream:
            await stream.send_all(b"POST /strict HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{")
        async with await trio.open_tcp_stream(HOST, receiver.port) as stream:
            await stream.send_all(b"no HTTP at all\r\n\r\n")
            assert await stream.receive_some() == b""
    assert (receiver.hits, receiver.strays) == ([], [])


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"X-WhatIsUp-Signature": "t=1,v1=00"}, "x-whatisup-signature: no fresh t"),
        ({"X-WhatIsUp-Signature": "t={now},v1=00"}, "x-whatisup-signature: wrong"),
        ({"webhook-signature": "v1,AAAA"}, "webhook-signature: wrong"),
        ({"webhook-timestamp": "1"}, "webhook-timestamp: not fresh"),
        ({"webhook-id": "evt_9"}, "webhook-id: evt_9 is not evt_1"),
        ({"X-WhatIsUp-Event": "message.read"}, "x-whatisup-event: message.read is not message.sent"),
        ({"User-Agent": "curl"}, "user-agent: curl"),
        ({"Content-Type": "text/plain"}, "content-type: text/plain is not application/json"),
    ],
)
async def test_receiver_names_what_is_wrong_with_a_request(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch, change: dict[str, str], problem: str
) -> None:
    monkeypatch.setattr(Temper, "meet", lambda *_: Reply.OK)
    headers, body = signed(envelope_of(1))
    changed = {name: value.format(now=int(time.time())) for name, value in change.items()}
    await post(receiver, headers | changed, body)
    assert problem in receiver.hits[0].problems


async def test_receiver_sees_an_old_signature_another_secret_and_another_body(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Temper, "meet", lambda *_: Reply.OK)
    await post(receiver, *signed(envelope_of(1), at=int(time.time()) - 600))
    await post(receiver, *signed(envelope_of(1), secret="whsec_" + base64.b64encode(b"x" * 32).decode()))
    headers, body = signed(envelope_of(1))
    await post(receiver, headers, body.replace(b"inst_1", b"inst_2"))
    assert [sum("ignature" in one or "fresh" in one for one in hit.problems) for hit in receiver.hits] == [2, 2, 2]
    assert receiver.hits[0].digest == receiver.hits[1].digest != receiver.hits[2].digest


def test_temper_is_the_seeds_and_takes_every_event_in_the_end() -> None:
    def drawn(seed: int) -> list[list[Reply]]:
        temper = Temper(seed, "strict")
        return [[temper.meet(f"evt_{number}") for _ in range(8)] for number in range(2000)]

    assert drawn(1) == drawn(1) != drawn(2)
    good = TAKEN
    failures = Counter(sum(reply not in good for reply in replies) for replies in drawn(1))
    assert set(failures) == {0, 1, 2, 3, 4, 5}
    assert 0.07 < 1 - failures[0] / 2000 < 0.13
    assert {reply for replies in drawn(1) for reply in replies} == set(Reply)
    assert all(replies[-1] in good for replies in drawn(1))
