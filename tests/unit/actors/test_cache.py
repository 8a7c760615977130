"""The cache of keys: what is found, what is not found any more, and its bound."""

from __future__ import annotations

from actors.instance.cache import MISSING, KeyCache


def test_cache_tells_unknown_from_absent() -> None:
    cache = KeyCache()
    lease = cache.lease()
    cache.put(lease, {("session", "1.0"): b"record", ("lid", "15550001"): None})
    assert cache.get(lease, ("session", "1.0")) == b"record"
    assert cache.get(lease, ("lid", "15550001")) is None
    assert cache.get(lease, ("session", "2.0")) is MISSING


def test_cache_finds_nothing_of_an_earlier_lease() -> None:
    cache = KeyCache()
    first = cache.lease()
    cache.put(first, {("session", "1.0"): b"of a wiped account"})
    assert cache.get(cache.lease(), ("session", "1.0")) is MISSING


def test_cache_is_bounded_in_bytes_and_drops_what_was_unused_for_longest() -> None:
    cache = KeyCache(max_bytes=4 * 1256)
    lease = cache.lease()
    for number in range(4):
        cache.put(lease, {("session", str(number)): bytes(1000)})
    assert cache.get(lease, ("session", "0")) is not MISSING
    cache.put(lease, {("session", "4"): bytes(1000)})
    assert cache.get(lease, ("session", "0")) is not MISSING
    assert cache.get(lease, ("session", "1")) is MISSING


def test_cache_counts_a_replaced_value_once() -> None:
    cache = KeyCache(max_bytes=3 * 1256)
    lease = cache.lease()
    cache.put(lease, {("session", "kept"): bytes(1000)})
    for _ in range(100):
        cache.put(lease, {("session", "again"): bytes(1000)})
    assert cache.get(lease, ("session", "kept")) is not MISSING


def test_cache_shows_no_values() -> None:
    cache = KeyCache()
    cache.put(cache.lease(), {("session", "1.0"): b"secret"})
    assert "secret" not in repr(cache)


def test_cache_finds_several_and_names_what_it_does_not_know() -> None:
    cache = KeyCache(max_bytes=3 * 1256)
    lease = cache.lease()
    cache.put(lease, {("session", "1.0"): bytes(1000), ("lid", "15550001"): None})
    found, unknown = cache.find(lease, [("session", "1.0"), ("lid", "15550001"), ("pn", "2")])
    assert found == {("session", "1.0"): bytes(1000), ("lid", "15550001"): None}
    assert unknown == {("pn", "2")}
    assert cache.find(cache.lease(), found) == ({}, set(found))


def test_cache_keeps_what_was_found_last() -> None:
    cache = KeyCache(max_bytes=2 * 1256)
    lease = cache.lease()
    for number in range(2):
        cache.put(lease, {("session", str(number)): bytes(1000)})
    cache.find(lease, [("session", "0")])
    cache.put(lease, {("session", "2"): bytes(1000)})
    assert cache.get(lease, ("session", "0")) is not MISSING
    assert cache.get(lease, ("session", "1")) is MISSING


def test_cache_counts_long_names() -> None:
    cache, long = KeyCache(max_bytes=100_000), "\N{GRINNING FACE}" * 1000
    lease = cache.lease()
    cache.put(lease, {("identity", f"{number}{long}"): None for number in range(100)})
    assert 0 < sum(cache.get(lease, ("identity", f"{number}{long}")) is None for number in range(100)) < 30
