"""Two people who write at once, crash, and get things late, twice or in another order: each message is read once."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.whatisup.protocol.messaging.parties import NOW_S, Device, composed_text, outgoing, to_device, two_people
from tests.unit.whatisup.protocol.messaging.test_resending import delivered, resend, retry_receipt
from whatisup.protocol.messaging.opening import Opened, Verdict
from whatisup.protocol.messaging.resending import Retained
from whatisup.wire import Node

_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.booleans(), st.booleans()),
        st.tuples(st.just("receive"), st.booleans(), st.integers(0, 5), st.sampled_from(["acked", "kept", "crash"])),
    ),
    max_size=40,
)


@dataclass
class Side:
    """One of the two: its device, what waits for it on the server, what it has read and what it can send again."""

    device: Device
    queue: list[Node] = field(default_factory=list)
    read: Counter[str] = field(default_factory=Counter)
    kept: dict[str, Retained] = field(default_factory=dict)


class Talk:
    """Both sides, the ids of what they sent, and every ciphertext."""

    def __init__(self) -> None:
        ann, bob = two_people((0,))
        self.sides = (Side(ann.devices[0]), Side(bob.devices[0]))
        self.sent: list[tuple[int, str]] = []
        self.ciphertexts: list[bytes] = []

    def send(self, who: int, is_committed: bool) -> None:
        here, there = self.sides[who], self.sides[1 - who]
        chat, wa_id = there.device.person, f"M{len(self.sent)}"
        composed = composed_text(f"text {wa_id}", chat.lid, here.device)
        sealed = here.device.seal(chat, composed, wa_id=wa_id, is_committed=is_committed)
        if is_committed:  # else it died before anything was sent
            self.sent.append((1 - who, wa_id))
            self.ciphertexts += [enc.ciphertext for _, enc in outgoing(sealed).participants]
            here.kept[wa_id] = Retained(wa_id, chat.lid, composed.message, "text", None, NOW_S)
            there.queue.append(to_device(sealed, here.device, there.device))

    def receive(self, who: int, place: int, end: str) -> None:
        here = self.sides[who]
        if not here.queue:
            return
        node = here.queue[place % len(here.queue)]
        opened = here.device.open(node, is_committed=end != "crash")
        if end == "crash":
            return
        self._note(who, opened)
        if end == "acked":
            here.queue.remove(node)

    def _note(self, who: int, opened: Opened) -> None:
        here, there = self.sides[who], self.sides[1 - who]
        if opened.verdict is Verdict.READ:
            assert opened.content is not None
            assert opened.content.body == {"type": "text", "text": f"text {opened.envelope.id}"}
            here.read[opened.envelope.id] += 1
        elif opened.verdict is not Verdict.DUPLICATE and not here.read[opened.envelope.id]:
            receipt = retry_receipt(here.device, opened, keys=here.device.bundle())
            again = resend(there.device, receipt, there.kept[opened.envelope.id])
            assert again is not None
            self._note(who, here.device.open(delivered(again, there.device)))

    def end(self) -> None:
        for who in (0, 1):
            while self.sides[who].queue:
                self.receive(who, 0, "acked")


@settings(max_examples=60, deadline=None)
@given(_STEPS)
def test_every_message_is_read_once_whatever_happens(steps: list[tuple[str, bool, int, str]]) -> None:
    talk = Talk()
    for step in steps:
        if step[0] == "send":
            talk.send(int(step[1]), bool(step[2]))
        else:
            talk.receive(int(step[1]), step[2], step[3])
    talk.end()
    for who, wa_id in talk.sent:
        assert talk.sides[who].read[wa_id] == 1
    assert len(set(talk.ciphertexts)) == len(talk.ciphertexts)


def test_a_lively_talk_with_every_second_delivery_lost_and_reordered() -> None:
    talk = Talk()
    for number in range(120):
        talk.send(number % 2 if number % 7 else 0, is_committed=bool(number % 5))
        talk.receive(number % 3 % 2, number % 4, ("acked", "kept", "crash")[number % 3])
    talk.end()
    for who, wa_id in talk.sent:
        assert talk.sides[who].read[wa_id] == 1
