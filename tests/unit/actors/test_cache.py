"""The cache of keys: what is found, what is not found any more, and its bound."""

from __future__ import annotations

from actors.instance.cache import _OVERHEAD, MISSING, NO_LEASE, SWEPT_AT_ONCE, KeyCache


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
    cache = KeyCache(max_bytes=4 * (1000 + _OVERHEAD))
    lease = cache.lease()
    for number in range(4):
        cache.put(lease, {("session", str(number)): bytes(1000)})
    assert cache.get(lease, ("session", "0")) is not MISSING
    cache.put(lease, {("session", "4"): bytes(1000)})
    assert cache.get(lease, ("session", "0")) is not MISSING
    assert cache.get(lease, ("session", "1")) is MISSING


def test_cache_counts_a_replaced_value_once() -> None:
    cache = KeyCache(max_bytes=3 * (1000 + _OVERHEAD))
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
    cache = KeyCache(max_bytes=3 * (1000 + _OVERHEAD))
    lease = cache.lease()
    cache.put(lease, {("session", "1.0"): bytes(1000), ("lid", "15550001"): None})
    found, unknown = cache.find(lease, [("session", "1.0"), ("lid", "15550001"), ("pn", "2")])
    assert found == {("session", "1.0"): bytes(1000), ("lid", "15550001"): None}
    assert unknown == {("pn", "2")}
    assert cache.find(cache.lease(), found) == ({}, set(found))


def test_cache_keeps_what_was_found_last() -> None:
    cache = KeyCache(max_bytes=2 * (1000 + _OVERHEAD))
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


def test_cache_holds_nothing_of_a_lease_that_ended() -> None:
    cache = KeyCache()
    kept = cache.lease()
    cache.put(kept, {("session", "kept"): bytes(1000)})
    before = repr(cache)
    for number in range(100):  # a number that reconnects again and again
        lease = cache.lease()
        cache.put(lease, {("session", f"{number}.{name}"): bytes(1000) for name in range(10)})
        cache.end(lease)
        assert cache.get(lease, ("session", f"{number}.0")) is MISSING
    assert repr(cache) == before
    assert cache.get(kept, ("session", "kept")) == bytes(1000)


def test_cache_remembers_nothing_under_a_lease_that_ended() -> None:
    cache = KeyCache()
    lease = cache.lease()
    cache.end(lease)
    for over in (lease, NO_LEASE):
        cache.put(over, {("session", "1.0"): b"late"})
        assert cache.get(over, ("session", "1.0")) is MISSING


def test_cache_drops_very_much_of_a_lease_in_portions() -> None:
    cache = KeyCache()
    large, other = cache.lease(), cache.lease()
    cache.put(large, {("session", str(number)): b"" for number in range(3 * SWEPT_AT_ONCE)})
    cache.end(large)
    for left in (2, 1, 0):
        assert repr(cache).startswith(f"KeyCache({left * SWEPT_AT_ONCE} entries")
        cache.put(other, {})


def test_cache_forgets_what_was_unused_before_its_lease_could_be_swept() -> None:
    cache = KeyCache(max_bytes=(SWEPT_AT_ONCE + 10) * (1000 + _OVERHEAD))
    large, other = cache.lease(), cache.lease()
    cache.put(large, {("session", str(number)): bytes(1000) for number in range(SWEPT_AT_ONCE + 10)})
    cache.end(large)
    cache.put(other, {("session", str(number)): bytes(1000) for number in range(SWEPT_AT_ONCE + 5)})
    cache.put(other, {})
    assert repr(cache) == f"KeyCache({SWEPT_AT_ONCE + 5} entries, {(SWEPT_AT_ONCE + 5) * (1000 + _OVERHEAD)} bytes)"
