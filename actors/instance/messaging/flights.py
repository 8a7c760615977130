"""What is on its way to the server and not acked, in the order of departure.

Rule: whatever departs again goes to the end, so that the first one is always the one that was sent longest ago.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from actors.instance.messaging.plans import Plan
from whatisup.jid import Jid
from whatisup.protocol.messaging.keyring import Keyring

NEVER: Final = float("inf")
ACK_S: Final = 75.0
"""After that long without an ack the same bytes are sent again, as whatsmeow waits."""


@dataclass(slots=True)
class Flight:
    """A message that was sent and not acked: for which devices, with which hash of them, and when it was last sent.

    `is_resync` says that it is a second stanza, for devices that the first one missed: there is no third.
    """

    chat: str
    devices: frozenset[Jid]
    phash: str | None
    sent_at: float
    token_due: Jid | None = None
    is_resync: bool = False


class Flights:
    """The flights of one connection, by WhatsApp id. Times are monotonic seconds."""

    __slots__ = ("_flights",)

    def __init__(self) -> None:
        self._flights: dict[str, Flight] = {}

    def __len__(self) -> int:
        return len(self._flights)

    def __contains__(self, wa_id: str) -> bool:
        return wa_id in self._flights

    @property
    def deadline(self) -> float:
        """When the first of them is to be sent again."""
        return next(iter(self._flights.values())).sent_at + ACK_S if self._flights else NEVER

    def overdue(self, now: float) -> set[str]:
        """Those that are to be sent again."""
        return {wa_id for wa_id, flight in self._flights.items() if flight.sent_at + ACK_S <= now}

    def get(self, wa_id: str) -> Flight | None:
        """One of them."""
        return self._flights.get(wa_id)

    def is_mismatch(self, wa_id: str, phash: str | None) -> bool:
        """Whether an ack with this hash tells of other devices than one of them went to."""
        flight = self._flights.get(wa_id)
        return flight is not None and not flight.is_resync and phash not in (None, flight.phash)

    def depart(self, wa_id: str, flight: Flight) -> None:
        """It was sent just now, for the first time or again."""
        self._flights.pop(wa_id, None)
        self._flights[wa_id] = flight

    def land(self, wa_id: str) -> Flight | None:
        """It is off our hands, or is dealt with otherwise."""
        return self._flights.pop(wa_id, None)

    def proven(self, wa_ids: Iterable[str], chat: str | None) -> None:
        """Receipts came from a chat for these: the server has them, whether its ack came or not.

        Of what is on its way to another chat a receipt proves nothing.
        """
        for wa_id in wa_ids:
            flight = self._flights.get(wa_id)
            if flight is not None and flight.chat == chat:
                del self._flights[wa_id]

    def issued(self, user: Jid) -> None:
        """A contact has our token: none of them has to bring that about."""
        for flight in self._flights.values():
            if flight.token_due == user:
                flight.token_due = None


def missed(ring: Keyring, plan: Plan | None, flight: Flight) -> tuple[str, ...]:
    """The devices of a chat that a message was not encrypted for."""
    served = {ring.canonical(device) for device in flight.devices}
    return tuple(str(d) for d in (plan.devices if plan else ()) if ring.canonical(d) not in served)
