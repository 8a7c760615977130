"""Two accounts on the bench: Ada with two companions, Bob with one, and phones that only write down what they get."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from tests.unit.whatisup.sandbox.bench import Bench, Device, Raw, make_bench
from whatisup.control import FaultRequest, Scope
from whatisup.jid import Jid
from whatisup.protocol.stanzas.message import Enc, Outgoing, build_message
from whatisup.sandbox import ports
from whatisup.sandbox.accounts import Companion
from whatisup.sandbox.state import State
from whatisup.sandbox.strikes import arm
from whatisup.wire import Node

ADA, BOB = "999000000001", "999000000002"


@dataclass
class Phones:
    """Every phone's letter box."""

    delivered: list[tuple[str, Node]] = field(default_factory=list)

    def deliver(self, number: str, node: Node) -> None:
        self.delivered.append((number, node))

    def arrived(self, companion: Companion) -> None:
        pass

    def of(self, number: str, tag: str = "message") -> list[Node]:
        return [node for owner, node in self.delivered if owner == number and node.tag == tag]


@dataclass
class Town:
    """A bench with people."""

    bench: Bench
    phones: Phones
    ada: Device
    ada2: Device
    bob: Device

    def lid(self, number: str, device: int = 0) -> Jid:
        account = self.bench.hub.state.account(number)
        assert account is not None
        return account.lid_jid.with_device(device)

    def pn(self, number: str, device: int = 0) -> Jid:
        return Jid(number, "s.whatsapp.net", device)

    def route(self, number: str, device: int, node: Node) -> Node | None:
        return self.bench.server.router.route(ports.Device(number, device), node)

    def arm(self, name: str, scope: Scope, **more: object) -> None:
        arm(self.bench.hub, self.bench.server.pairing, FaultRequest(name, scope, **more))  # type: ignore[arg-type]  # as the test says

    def waiting(self, number: str, device: int = 1) -> int:
        companion = self.bench.hub.state.companion(number, device)
        assert companion is not None
        return self.bench.hub.waiting.count(companion.row)

    def to_bob(self, message_id: str = "M1", *, as_lid: bool = True, body: bytes = b"hello", **more: object) -> Node:
        """What Ada's first companion sends to Bob's and her own other devices."""
        name = self.lid if as_lid else self.pn
        devices = [name(BOB), name(BOB, 1), name(ADA), name(ADA, 2)]
        fields: dict[str, object] = {
            "to": name(BOB),
            "type": "text",
            "participants": tuple((jid, Enc("msg", body + str(jid).encode())) for jid in devices),
            **more,
        }
        return build_message(Outgoing(id=message_id, **fields))  # type: ignore[arg-type]  # as the test says


def make_town(switches: Collection[str] = (), *, state: State | None = None) -> Town:
    bench = make_bench(switches=switches, state=state)
    phones = Phones()
    bench.hub.people = phones
    ada, ada2, bob = bench.linked(ADA, "ada"), bench.linked(ADA, "ada2"), bench.linked(BOB, "bob")
    for device in (ada, ada2, bob):
        device.log_in()  # takes the notifications about its siblings off its queue
        assert device.client is not None
        bench.server.disconnected(device.client)
    bench.hub.state.rename(ADA, "Ada L.")
    return Town(bench, phones, ada, ada2, bob)


def leave(raw: Raw) -> None:
    """The socket is gone."""
    raw.bench.server.disconnected(raw.client)


def messages(nodes: list[Node]) -> list[Node]:
    return [node for node in nodes if node.tag == "message"]
