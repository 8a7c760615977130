"""The faults as one table: their names, and the moment at which each one strikes.

Rule: what a fault does to a connection is decided elsewhere; here stands only who is hit, when, and how often.

A fault is armed for a number of *rounds* (`times`, default 1) or for `seconds`. One that strikes live connections
strikes all matching ones at the moment it is armed, which uses one round if it met any; what is left waits for the next
connections, one round each. All others wait for their moment, one round each. Faults live in memory: a restart of the
sandbox disarms them.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from whatisup.control import FAILURE_CODES, Fault, FaultName, FaultRequest, Scope
from whatisup.protocol.profile import ClientVersion

MAX_ARMED: Final = 1000
"""How many faults may be armed at once."""

MAX_SPENT: Final = 100
"""How many spent faults are still shown."""


class Moment(Enum):
    """When a fault strikes."""

    HELLO = auto()
    """The server's certificate goes out. Whose connection it is shows only the routing info of the ED header."""
    ANSWER = auto()
    """A registration or login was read and the server's word on it is due."""
    LIVE = auto()
    """At once on a live connection; on a new one when it turns active (a pairing one: when references are offered)."""
    IQ = auto()
    """The client asked something."""
    TAKEN = auto()
    """A stanza is routed, or a phone acts: whoever does it takes the fault by its name (`Faults.take`)."""


class Whom(Enum):
    """Which connections a fault can hit at all."""

    ANYONE = auto()
    COMPANION = auto()
    """Logged in."""
    NEWCOMER = auto()
    """Waiting to be paired."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One row of the table; `failure` is the reason it refuses a login with."""

    name: str
    moment: Moment
    whom: Whom = Whom.ANYONE
    failure: int | None = None


_NAMED: Final = (
    Kind(FaultName.STREAM_515, Moment.LIVE),
    Kind(FaultName.STREAM_503, Moment.LIVE),
    Kind(FaultName.CONFLICT_REPLACED, Moment.LIVE, Whom.COMPANION),
    Kind(FaultName.DEVICE_REMOVED, Moment.LIVE, Whom.COMPANION),
    Kind(FaultName.DROP, Moment.LIVE),
    Kind(FaultName.HALF_OPEN, Moment.LIVE),
    Kind(FaultName.SLOW, Moment.LIVE),
    Kind(FaultName.GARBAGE, Moment.LIVE),
    Kind(FaultName.MALFORMED_NODE, Moment.LIVE),
    Kind(FaultName.UNKNOWN_TAG, Moment.LIVE),
    Kind(FaultName.TEMP_BAN, Moment.ANSWER, failure=402),
    Kind(FaultName.NO_ANSWER, Moment.IQ),
    Kind(FaultName.BAD_CERTIFICATE, Moment.HELLO),
    Kind(FaultName.REFS_EXPIRED, Moment.LIVE, Whom.NEWCOMER),
    Kind(FaultName.REDELIVER_ALL, Moment.LIVE, Whom.COMPANION),
    Kind(FaultName.DROP_AFTER_DELIVERY, Moment.TAKEN),
    Kind(FaultName.DROP_AFTER_ACK, Moment.TAKEN),
    Kind(FaultName.DROP_BEFORE_ACK, Moment.TAKEN),
    Kind(FaultName.DUPLICATE, Moment.TAKEN),
    Kind(FaultName.REORDER, Moment.TAKEN),
    Kind(FaultName.CORRUPT_MAC, Moment.TAKEN),
    Kind(FaultName.UNAVAILABLE, Moment.TAKEN),
    Kind(FaultName.LID_ONLY, Moment.TAKEN),
    Kind(FaultName.NACK_463, Moment.TAKEN),
    Kind(FaultName.NACK_475, Moment.TAKEN),
    Kind(FaultName.NACK_479, Moment.TAKEN),
    Kind(FaultName.NACK_421, Moment.TAKEN),
    Kind(FaultName.PHASH_MISMATCH, Moment.TAKEN),
    # Taken by the simulated phones.
    Kind(FaultName.NO_SESSION, Moment.TAKEN),
    Kind(FaultName.CONSUMED_PREKEY, Moment.TAKEN),
    Kind(FaultName.IDENTITY_CHANGE, Moment.TAKEN),
    Kind(FaultName.SIMULTANEOUS, Moment.TAKEN),
    Kind(FaultName.RETRY_STORM, Moment.TAKEN),
)

KINDS: Final[Mapping[str, Kind]] = {
    str(kind.name): kind
    for kind in (*_NAMED, *(Kind(f"failure-{code}", Moment.ANSWER, failure=code) for code in FAILURE_CODES))
}


@dataclass(frozen=True, slots=True)
class Target:
    """Whom a connection belongs to, as far as the server knows at that moment.

    `device` 0 is the account's phone, `iq` the xmlns of a request, `version` the client's, `refs` what a newcomer
    offers to be scanned.
    """

    number: str | None = None
    device: int | None = None
    iq: str | None = None
    version: ClientVersion | None = None
    refs: tuple[str, ...] = ()


@dataclass(slots=True)
class Armed:
    """A fault that waits to strike; `until` is in monotonic seconds."""

    id: str
    kind: Kind
    request: FaultRequest
    times_left: int | None
    until: float | None
    hits: int = 0

    def is_spent(self, now: float) -> bool:
        """Whether it can strike no more."""
        return self.times_left == 0 or (self.until is not None and now >= self.until)

    def matches(self, target: Target) -> bool:
        """Whether `target` is in its scope and meets its parameters."""
        params = self.request.params
        if params.below_version is not None and not _is_below(target.version, params.below_version):
            return False
        if params.iq is not None and self.kind.moment is Moment.IQ and params.iq != target.iq:
            return False
        if self.kind.whom is not Whom.ANYONE and (self.kind.whom is Whom.COMPANION) == (target.device is None):
            return False
        return in_scope(self.request.scope, target)

    def spend(self, hits: int = 1) -> None:
        """Use one round, which met `hits` connections."""
        self.hits += hits
        if self.times_left is not None:
            self.times_left -= 1

    def view(self, now: float) -> Fault:
        """Return it as the control API shows it."""
        expires_in_s = None if self.until is None else round(max(0.0, self.until - now), 3)
        request = self.request
        return Fault(self.id, request.name, request.scope, request.params, self.times_left, expires_in_s, self.hits)


def _is_below(version: ClientVersion | None, limit: str) -> bool:
    return version is not None and version < ClientVersion.parse(limit)


def in_scope(scope: Scope, target: Target) -> bool:
    """Whether a scope covers that account and device, or that newcomer."""
    if scope.ref is not None:
        return scope.ref in target.refs
    if scope.number is None:
        return True
    return scope.number == target.number and scope.device in (None, target.device)


def _covered(scope: Scope) -> Target:
    return Target(scope.number, scope.device, refs=() if scope.ref is None else (scope.ref,))


class Faults:
    """All faults: those that can still strike, oldest first, and the last ones that cannot (to read their `hits`)."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._armed: dict[str, Armed] = {}
        self._spent: deque[Armed] = deque(maxlen=MAX_SPENT)
        self._count = 0

    def arm(self, request: FaultRequest, now: float) -> Armed | None:
        """Arm a fault; `None` when `MAX_ARMED` are armed already."""
        self._retire(now)
        if len(self._armed) >= MAX_ARMED:
            return None
        self._count += 1
        until = None if request.seconds is None else now + request.seconds
        times = None if until is not None else request.times or 1
        armed = Armed(f"fault-{self._count}", KINDS[request.name], request, times, until)
        self._armed[armed.id] = armed
        return armed

    def strike(self, moment: Moment, target: Target, now: float) -> Iterator[Armed]:
        """Yield every fault that hits `target` at this moment, each with one round used."""
        if not self._armed:
            return
        for armed in list(self._armed.values()):
            if armed.kind.moment is moment and not armed.is_spent(now) and armed.matches(target):
                armed.spend()
                yield armed
        self._retire(now)

    def strike_one(self, moment: Moment, target: Target, now: float) -> Armed | None:
        """Return the oldest fault that hits `target` at this moment, with one round used; the others keep theirs."""
        return next(self.strike(moment, target, now), None)

    def take(self, name: str, target: Target) -> Armed | None:
        """Return the oldest fault of that name that hits `target`, with one round used; None: nothing is wrong."""
        if not self._armed:
            return None
        now = self._monotonic()
        for armed in self._armed.values():
            if armed.request.name == name and not armed.is_spent(now) and armed.matches(target):
                armed.spend()
                self._retire(now)
                return armed
        return None

    def disarm(self, fault_id: str) -> bool:
        """Disarm one fault; False when none of that id can strike."""
        return self._armed.pop(fault_id, None) is not None

    def clear(self, scope: Scope) -> int:
        """Disarm every fault whose scope is within `scope`; return how many."""
        gone = [armed.id for armed in self._armed.values() if in_scope(scope, _covered(armed.request.scope))]
        for fault_id in gone:
            del self._armed[fault_id]
        return len(gone)

    def listed(self, now: float) -> list[Armed]:
        """Return the last `MAX_SPENT` faults that are spent, then those that can still strike."""
        self._retire(now)
        return [*self._spent, *self._armed.values()]

    def _retire(self, now: float) -> None:
        for armed in list(self._armed.values()):
            if armed.is_spent(now):
                del self._armed[armed.id]
                self._spent.append(armed)
