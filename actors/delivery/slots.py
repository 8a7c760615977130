"""Who may have an attempt under way: bounds by customer, by host, for hosts that are slow, and over all.

Rule: whoever waits holds nothing that others need. The bounds are taken from the narrowest to the widest, so a crowd
before one slow host waits at that host's own bound and leaves the wide one alone.

A host counts as slow until an attempt there has ended well and quickly, and again after one that has not. All slow
hosts together get half of the places, so that however many of them hang, the quick ones find room.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator, Hashable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

import trio

SLOW_S: Final = 1.0
"""An attempt that takes longer makes its host a slow one."""

KNOWN_HOSTS: Final = 4096
"""How many quick hosts are remembered; one that is forgotten counts as slow once more."""


class _Bounds:
    """Semaphores by key, there while somebody uses them."""

    def __init__(self, places: int) -> None:
        self._places = places
        self._by_key: dict[Hashable, tuple[trio.Semaphore, list[None]]] = {}

    @asynccontextmanager
    async def one_of(self, key: Hashable) -> AsyncIterator[None]:
        semaphore, users = self._by_key.setdefault(key, (trio.Semaphore(self._places), []))
        users.append(None)
        try:
            async with semaphore:
                yield
        finally:
            users.pop()
            if not users:
                del self._by_key[key]


class Slots:
    """Places for attempts: `per_host` at one host, `in_all` over all; for one customer, and for slow hosts, half."""

    def __init__(self, *, per_host: int, in_all: int) -> None:
        half = max(1, in_all // 2)
        self._crowds = _Bounds(per_host)
        self._customers = _Bounds(half)
        self._hosts = _Bounds(per_host)
        self._slow = trio.Semaphore(half)
        self._all = trio.Semaphore(in_all)
        self._quick: OrderedDict[str, None] = OrderedDict()

    @asynccontextmanager
    async def one(self, customer_id: str, host: str) -> AsyncIterator[None]:
        """Hold a place for attempts at `host`, one after the other."""
        async with AsyncExitStack() as held:
            # A customer's crowd before one host waits here, and not in the places of all its hosts.
            await held.enter_async_context(self._crowds.one_of((customer_id, host)))
            await held.enter_async_context(self._customers.one_of(customer_id))
            await held.enter_async_context(self._hosts.one_of(host))
            if host not in self._quick:
                await held.enter_async_context(self._slow)
            await held.enter_async_context(self._all)
            yield

    def learn(self, host: str, took_s: float, *, is_well: bool) -> None:
        """Remember how an attempt at `host` went."""
        self._quick.pop(host, None)
        if is_well and took_s < SLOW_S:
            self._quick[host] = None
            if len(self._quick) > KNOWN_HOSTS:
                self._quick.popitem(last=False)
