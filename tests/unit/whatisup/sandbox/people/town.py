"""People on the bench: a server without sockets, a clock that is moved by hand, and phones that act when told to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tests.unit.whatisup.sandbox.bench import Bench, make_bench
from whatisup import control
from whatisup.sandbox.people import People
from whatisup.sandbox.people.turn import Turn
from whatisup.sandbox.state import State

ADA = "999000000001"
BOB = "999000000002"


@dataclass
class Town:
    """A server with people."""

    bench: Bench
    people: People

    def settle(self) -> None:
        """Let everybody act until there is nothing left to do."""
        for _ in range(10_000):
            if not self.people.work(60.0):
                return
        raise AssertionError("people never come to rest")

    def say(self, number: str, to: str, body: dict[str, Any] | str, message_id: str | None = None) -> str:
        """Let somebody say something, and everybody act."""
        body = {"type": "text", "text": body} if isinstance(body, str) else body
        sent = self.people.send(number, to, body, message_id)
        self.settle()
        return sent

    def received(self, number: str) -> list[control.ReceivedMessage]:
        return self.people.received(number, 0, 1000).data

    def sent(self, number: str) -> list[control.SentMessage]:
        return self.people.sent(number, 0, 1000).data

    def texts(self, number: str) -> list[str | None]:
        """What somebody read, in order."""
        return [row.text for row in self.received(number) if row.verdict == "read"]

    def receipts(self, number: str, message_id: str) -> set[tuple[str, int, str]]:
        """Who has a message, and what they did with it."""
        (row,) = [row for row in self.sent(number) if row.id == message_id]
        return {(receipt.number, receipt.device, receipt.kind) for receipt in row.receipts}

    def turn(self, number: str) -> Turn:
        """Somebody's phone, to look into."""
        return self.people._turn(self.bench.server.pairing.account(number))

    def arm(self, name: str, number: str, **more: Any) -> None:
        request = control.FaultRequest(name, control.Scope(number), **more)
        assert self.bench.hub.faults.arm(request, self.bench.hands.now) is not None


def make_town(state: State | None = None, *numbers: str, seed: int = 1) -> Town:
    """A server with Ada and Bob, or with these numbers."""
    bench = make_bench(state=state, seed=seed)
    people = People(bench.hub, bench.server.router)
    bench.hub.people = people
    for number in numbers or (ADA, BOB):
        if bench.hub.state.account(number) is None:
            bench.server.pairing.create_account(number, f"name of {number[-1]}")
    return Town(bench, people)
