"""Key bundles that the outbox asked for, from the answer until they are used.

Rule: a bundle opens one session and is gone. One that nobody used in time, or whose owner has changed keys since, is
asked for again: it may be of an installation that is no more.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from whatisup.jid import Jid
from whatisup.protocol.prekeys import Bundle

KEPT_S: Final = 600.0
"""How long an answer counts, be it a bundle or that there is none."""


class Bundles:
    """What is known of devices' bundles; None stands for a device that has none. Times are monotonic seconds."""

    __slots__ = ("_answers",)

    def __init__(self) -> None:
        self._answers: dict[Jid, tuple[float, Bundle | None]] = {}

    def __len__(self) -> int:
        return len(self._answers)

    def keep(self, device: Jid, bundle: Bundle | None, now: float) -> None:
        """Keep the answer about a device, and forget what is too old."""
        self._answers = {jid: answer for jid, answer in self._answers.items() if answer[0] > now}
        self._answers[device] = (now + KEPT_S, bundle)

    def lacking(self, devices: Iterable[Jid], now: float) -> list[Jid]:
        """Those of these devices that are to be asked about."""
        return [jid for jid in devices if jid not in self._answers or self._answers[jid][0] <= now]

    def of(self, devices: Iterable[Jid]) -> dict[Jid, Bundle]:
        """The bundles that are here of these devices."""
        held = ((jid, self._answers[jid][1]) for jid in devices if jid in self._answers)
        return {jid: bundle for jid, bundle in held if bundle is not None}

    def used(self, devices: Iterable[Jid]) -> None:
        """These devices have been encrypted for."""
        for jid in devices:
            self._answers.pop(jid, None)

    def forget(self, users: Iterable[str]) -> None:
        """These users (digits of either name) have other keys or devices now."""
        gone = set(users)
        self._answers = {jid: answer for jid, answer in self._answers.items() if jid.user not in gone}
