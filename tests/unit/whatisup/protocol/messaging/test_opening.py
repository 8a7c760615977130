from __future__ import annotations

from tests.unit.whatisup.protocol.messaging.parties import deliver, outgoing, to_device, two_people
from whatisup.jid import PN_SERVER
from whatisup.protocol.messaging.opening import Verdict


def test_text_is_read_by_every_device_and_own_copies_come_from_me() -> None:
    ann, bob = two_people()
    nodes = deliver(ann.devices[1].seal(bob, "hello"), ann.devices[1], ann, bob)
    assert set(nodes) == {bob.lid, bob.lid.with_device(1), ann.lid}
    for device in bob.devices.values():
        opened = device.open(nodes[device.lid])
        assert opened.verdict is Verdict.READ
        assert opened.content is not None
        assert opened.content.body == {"type": "text", "text": "hello"}
        assert not opened.envelope.is_from_me
        assert opened.used_prekeys == (1,)
        assert ("prekey", "1") not in device.store
    copy = ann.devices[0].open(nodes[ann.lid])
    assert copy.verdict is Verdict.READ
    assert copy.envelope.is_from_me
    assert copy.envelope.chat == bob.lid
    assert copy.content is not None
    assert copy.content.destination == str(bob.lid)
