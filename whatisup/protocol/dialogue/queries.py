"""Questions about other people that the owner asks: devices, bundles, numbers; and the tokens it issues.

Rule: every question ends in exactly one event, be it with a failure, unless the connection ends before: then `Closed`
speaks for all. An answer counts only for whom was asked about.

Source: WhatsApp Web, as whatsmeow and Baileys do it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, TypeVar

from whatisup.jid import Jid
from whatisup.protocol.dialogue.exchange import Exchange, as_is
from whatisup.protocol.events import BundlesAnswered, ContactsChecked, DevicesAnswered, TokenIssued
from whatisup.protocol.prekeys import Bundle, build_bundle_query, parse_bundles
from whatisup.protocol.stanzas.iq import Refusal
from whatisup.protocol.stanzas.tokens import build_token_issue
from whatisup.protocol.stanzas.usync import (
    ContactFound,
    UserDevices,
    build_contact_query,
    build_device_query,
    parse_contacts,
    parse_devices,
)
from whatisup.wire import Node

MAX_OUTSTANDING: Final = 32
"""Questions without an answer yet; one more fails at once. Ours: a server that never answers shall not pile them up."""

NO_ANSWER: Final = 408
"""The failure of a question that nobody answered in time."""

TOO_MANY: Final = 503
"""The failure of a question that was one too many at once."""

T = TypeVar("T")


class Queries:
    """The questions of one connection that are under way."""

    __slots__ = ("_count", "_exchange")

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._count = 0

    def devices(self, users: Sequence[Jid]) -> None:
        """Ask for the devices of users; `DevicesAnswered` follows."""
        asked = tuple(users)

        def then(found: tuple[UserDevices, ...] | int) -> None:
            wanted = frozenset(asked)
            if isinstance(found, int):
                self._exchange.emit(DevicesAnswered(asked, failure=found))
            else:
                self._exchange.emit(DevicesAnswered(asked, tuple(user for user in found if user.user in wanted)))

        self._ask(partial(build_device_query, users=asked), parse_devices, then)

    def bundles(self, devices: Sequence[Jid], *, is_identity_change: bool = False) -> None:
        """Ask for the bundles of devices; `BundlesAnswered` follows."""
        asked = tuple(devices)

        def then(found: tuple[tuple[Jid, Bundle | Refusal], ...] | int) -> None:
            if isinstance(found, int):
                self._exchange.emit(BundlesAnswered(asked, failure=found))
            else:
                self._exchange.emit(_bundles_answered(asked, found))

        build = partial(build_bundle_query, devices=asked, is_identity_change=is_identity_change)
        self._ask(build, parse_bundles, then)

    def contacts(self, numbers: Sequence[str]) -> None:
        """Ask which numbers (digits) are on the network; `ContactsChecked` follows."""
        asked = tuple(numbers)

        def then(found: tuple[ContactFound, ...] | int) -> None:
            wanted = frozenset(asked)
            if isinstance(found, int):
                self._exchange.emit(ContactsChecked(asked, failure=found))
            else:
                self._exchange.emit(ContactsChecked(asked, tuple(entry for entry in found if entry.number in wanted)))

        self._ask(partial(build_contact_query, numbers=asked), parse_contacts, then)

    def issue_token(self, user: Jid, unix_t: int) -> None:
        """Issue a privacy token to a contact; `TokenIssued` follows."""

        def then(answer: Node | int) -> None:
            self._exchange.emit(TokenIssued(user, unix_t, ok=isinstance(answer, Node)))

        self._ask(partial(build_token_issue, user=user, unix_t=unix_t), as_is, then)

    def _ask(self, build: Callable[[str], Node], parse: Callable[[Node], T], then: Callable[[T | int], None]) -> None:
        """`then` hears what `parse` read, or the code of the failure."""
        if self._count >= MAX_OUTSTANDING:
            then(TOO_MANY)
            return
        self._count += 1

        def settle(answer: T | Refusal | None) -> None:
            self._count -= 1
            if answer is None:
                then(NO_ANSWER)
            else:
                then(answer.code if isinstance(answer, Refusal) else answer)

        self._exchange.ask(build, parse, settle)


def _bundles_answered(asked: tuple[Jid, ...], found: Sequence[tuple[Jid, Bundle | Refusal]]) -> BundlesAnswered:
    wanted = frozenset(asked)
    bundles: dict[Jid, Bundle] = {}
    refused: dict[Jid, int] = {}
    for jid, bundle in found:
        if jid not in wanted:
            continue
        if isinstance(bundle, Refusal):
            refused[jid] = bundle.code
        else:
            bundles.setdefault(jid, bundle)
    return BundlesAnswered(asked, tuple(bundles.items()), refused=tuple(refused.items()))
