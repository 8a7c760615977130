"""What a run does, drawn from its seed: who writes what to whom, when what is broken, and how the server behaves.

Rule: no clock and no process here; the same options always give the same plan.
"""

from __future__ import annotations

import random
import string
from dataclasses import dataclass, replace
from enum import StrEnum

from whatisup.control import FaultName, Switch

BURST = 40
"""The longest burst of one contact."""

# One of each row may be on. `token-rule` is not drawn: under it a first message to a stranger rightly fails.
SWITCHES: tuple[tuple[Switch, ...], ...] = (
    (Switch.PUSH_QUEUE, Switch.PULL_QUEUE),
    (Switch.NO_ID_DEDUPE,),
    (Switch.NACK_KEEPS,),
    (Switch.LIVE_HELD_BACK,),
    (Switch.RECEIPT_LOST_ON_CLOSE,),
    (Switch.REUSED_ID,),
    (Switch.UNKNOWN_TAG,),
)

MISHAPS: tuple[FaultName, ...] = (
    FaultName.DROP_AFTER_DELIVERY,
    FaultName.DROP_AFTER_ACK,
    FaultName.DROP_BEFORE_ACK,
    FaultName.DUPLICATE,
    FaultName.CORRUPT_MAC,
    FaultName.NO_SESSION,
    FaultName.CONSUMED_PREKEY,
    FaultName.UNAVAILABLE,
    FaultName.LID_ONLY,
    FaultName.PHASH_MISMATCH,
    FaultName.REDELIVER_ALL,
)
"""Faults after which everything still arrives once, and but for what is asked for again in order."""

SLOW: tuple[Switch, ...] = (Switch.NO_IB_OFFLINE, Switch.RATE_LIMIT)
"""Under these a gateway rests for a minute after each login, as it should: each is on for two harms in a long run."""
LONG = 10
"""So many kills make a long run."""


class Harm(StrEnum):
    """What is done to the running system."""

    KILL = "kill"
    """The gateway gets SIGKILL, and is started again."""
    CUT = "cut"
    """Every instance's socket is cut."""
    SANDBOX = "sandbox"
    """The sandbox gets SIGKILL, and is started again on its state file."""
    FULL = "full"
    """The gateway's database has no room left for a while."""
    SERVER = "server"
    """PostgreSQL gets SIGKILL, and is started again."""
    MISHAP = "mishap"
    """Something goes wrong with single messages, at the server or on a phone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How large a run is. `messages` go each way, over all chats together."""

    database: str = "sqlite"
    messages: int = 10_000
    kills: int = 20
    instances: int = 8
    contacts: int = 2
    seed: int = 1


@dataclass(frozen=True, slots=True)
class Trouble:
    """One harm: when that share of the traffic is through and `delay_s` more have passed, for `outage_s`.

    `again_s`: how long after it was started the gateway is killed once more, ready or not. `kills_within`: the gateway
    is killed as well while the harm lasts. `fault` says what a mishap is.
    """

    harm: Harm
    at: float
    delay_s: float
    outage_s: float
    again_s: float | None = None
    kills_within: bool = False
    fault: FaultName | None = None


@dataclass(frozen=True, slots=True)
class Chat:
    """One contact and one instance: what the API is told to send, and the contact's bursts as (prefix, count)."""

    name: str
    instance: int
    texts: tuple[str, ...]
    bursts: tuple[tuple[str, int], ...]

    @property
    def told(self) -> list[str]:
        """What the contact sends, in order."""
        return [f"{prefix} {number}" for prefix, count in self.bursts for number in range(1, count + 1)]


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that a seed decides."""

    options: Options
    switches: tuple[Switch, ...]
    slow: tuple[tuple[Switch, int], ...]
    """Slow switches, each with the place of the harm that it comes with."""
    chats: tuple[Chat, ...]
    troubles: tuple[Trouble, ...]

    def switches_at(self, place: int) -> tuple[Switch, ...]:
        """The switches that are on from one harm to the next."""
        return (*self.switches, *(switch for switch, first in self.slow if first <= place < first + 2))

    @property
    def gateway_kills(self) -> int:
        """How often the gateway is killed in all."""
        return sum(
            (trouble.harm is Harm.KILL) + (trouble.again_s is not None) + trouble.kills_within
            for trouble in self.troubles
        )


def draw(options: Options) -> Plan:
    """Draw a run."""
    switches, slow, troubles = _weather(random.Random(f"{options.seed} {options.database}"), options)
    dice = random.Random(f"{options.seed} traffic")
    count = options.instances * options.contacts
    shares = [options.messages // count + (index < options.messages % count) for index in range(count)]
    chats = tuple(_chat(dice, index, index % options.instances, share) for index, share in enumerate(shares))
    return Plan(options, switches, slow, chats, troubles)


def _weather(
    dice: random.Random, options: Options
) -> tuple[tuple[Switch, ...], tuple[tuple[Switch, int], ...], tuple[Trouble, ...]]:
    switches = tuple(dice.choice(row) for row in SWITCHES if dice.random() < 0.4)
    troubles = _troubles(dice, options)
    slow = tuple((switch, dice.randrange(len(troubles) - 2)) for switch in SLOW if options.kills >= LONG)
    return switches, slow, troubles


def _chat(dice: random.Random, index: int, instance: int, share: int) -> Chat:
    name = f"c{index}"
    texts = tuple(f"{name}-out-{number} {_padding(dice)}" for number in range(share))
    bursts: list[tuple[str, int]] = []
    left = share
    while left:
        size = min(left, dice.randint(1, BURST))
        bursts.append((f"{name}-in-{len(bursts)} {_padding(dice)}", size))
        left -= size
    return Chat(name, instance, texts, tuple(bursts))


def _padding(dice: random.Random) -> str:
    size = dice.choices((dice.randint(1, 60), dice.randint(60, 400), 900), weights=(80, 18, 2))[0]
    return "".join(dice.choices(string.ascii_letters, k=size))


def _troubles(dice: random.Random, options: Options) -> tuple[Trouble, ...]:
    others = [Harm.CUT, Harm.SANDBOX, Harm.FULL]
    if options.database == "postgresql":
        others.append(Harm.SERVER)
    rare, frequent = max(1, options.kills // 5), max(1, options.kills // 2)
    harms = [Harm.KILL] * options.kills + others * rare + [Harm.MISHAP] * frequent
    dice.shuffle(harms)
    return tuple(_trouble(dice, harm, place, len(harms)) for place, harm in enumerate(harms))


def _trouble(dice: random.Random, harm: Harm, place: int, of: int) -> Trouble:
    at = (place + dice.uniform(0.1, 0.9)) / of * 0.95
    trouble = Trouble(harm, at, delay_s=dice.uniform(0, 0.4), outage_s=dice.uniform(0.1, 1.5))
    again_s, kills_within, fault = dice.uniform(0.3, 2.5), dice.random() < 0.5, dice.choice(MISHAPS)
    if harm is Harm.KILL:
        return replace(trouble, again_s=again_s if dice.random() < 0.25 else None)
    if harm is Harm.MISHAP:
        return replace(trouble, fault=fault, kills_within=kills_within)
    return replace(trouble, kills_within=kills_within and harm in (Harm.FULL, Harm.SERVER))
