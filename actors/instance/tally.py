"""What repeated trouble means: the counts behind "confirmed", "three times" and "five times" in the state table.

Rule: nothing here acts. `judge` turns what the connection reported into the trigger the lifecycle sees, and how long to
wait before the next attempt; the actor carries it out.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import Enum

from whatisup.lifecycle import Trigger

MAX_CERTIFICATE_REFUSALS = 5
MAX_UNKNOWN_FAILURES = 3
MAX_ROUNDS = 3
MAX_PAIRING_LOSSES = 8
EXPERIMENTAL = 501
# Failure codes with a meaning of their own; any other is unknown and final only when it repeats.
KNOWN_SERVER_CODES = frozenset({None, 500, 501, 503, 515})


class Wait(Enum):
    """How long to wait before the next attempt, if there is one."""

    NONE = "none"
    BACKOFF = "backoff"
    LONG = "long"
    ON_REQUEST = "on_request"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The trigger to step by, and the wait that goes with it."""

    trigger: Trigger
    wait: Wait = Wait.BACKOFF


@dataclass(slots=True)
class Tally:
    """How often each kind of trouble has come in a row."""

    login_refusals: int = 0
    certificate_refusals: int = 0
    unknown_failures: int = 0
    rounds: int = 0
    pairing_losses: int = 0
    said: Counter[str] = field(default_factory=Counter)
    """What the peer gave us reason to log, and how often; never forgiven, or a flood would be logged in pieces."""

    def is_worth_a_line(self, kind: str) -> bool:
        """Count one more of this kind; true for the 1st, 2nd, 4th, 8th ...: a peer must not write our log full."""
        self.said[kind] += 1
        return self.said[kind].bit_count() == 1

    def reset(self) -> None:
        """A login succeeded: everything before it is forgiven."""
        self.login_refusals = self.certificate_refusals = self.unknown_failures = 0
        self.rounds = self.pairing_losses = 0

    def judge(self, trigger: Trigger, *, code: int | None, has_account: bool) -> Verdict:
        """Weigh what ended a connection (`code` as on the wire) against what came before."""
        if not has_account:
            return self._judge_pairing(trigger)
        match trigger:
            case Trigger.LOGGED_OUT | Trigger.LOGIN_REFUSED_ONCE:
                return self._judge_refusal(trigger)
            case Trigger.CERTIFICATE_REFUSED:
                self.certificate_refusals += 1
                is_final = self.certificate_refusals >= MAX_CERTIFICATE_REFUSALS
                return Verdict(Trigger.BAD_CERTIFICATE if is_final else trigger)
            case Trigger.RESTART_REQUIRED:
                return Verdict(trigger, Wait.ON_REQUEST)
            case Trigger.SERVER_UNAVAILABLE if code == EXPERIMENTAL:
                return Verdict(trigger, Wait.LONG)
            case Trigger.SERVER_UNAVAILABLE if code not in KNOWN_SERVER_CODES:
                self.unknown_failures += 1
                is_final = self.unknown_failures >= MAX_UNKNOWN_FAILURES
                return Verdict(Trigger.CONNECT_FAILURE if is_final else trigger)
            case _:
                return Verdict(trigger)

    def end_round(self) -> Verdict:
        """All QR codes of one connection have expired: offer new ones, or give up after three rounds."""
        self.rounds += 1
        if self.rounds >= MAX_ROUNDS:
            return Verdict(Trigger.PAIRING_GAVE_UP)
        return Verdict(Trigger.CONNECTION_LOST, Wait.NONE)

    def _judge_pairing(self, trigger: Trigger) -> Verdict:
        if trigger not in (Trigger.CONNECTION_LOST, Trigger.SERVER_UNAVAILABLE, Trigger.RESTART_REQUIRED):
            return Verdict(trigger)
        self.pairing_losses += 1
        return Verdict(Trigger.PAIRING_GAVE_UP if self.pairing_losses >= MAX_PAIRING_LOSSES else trigger)

    def _judge_refusal(self, trigger: Trigger) -> Verdict:
        """A 401 wipes only when the very next login is refused too; an ambiguous one never counts as the second."""
        if trigger is Trigger.LOGGED_OUT and self.login_refusals:
            return Verdict(Trigger.LOGGED_OUT)
        self.login_refusals += 1
        wait = Wait.NONE if self.login_refusals == 1 else Wait.BACKOFF
        return Verdict(Trigger.LOGIN_REFUSED_ONCE, wait)
