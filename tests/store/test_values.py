"""Ids and units as values."""

from __future__ import annotations

import os

import pytest
from ulid import ULID

from whatisup.store import AppendEvent, Call, MarkPrekeys, PutAuth, PutPrekeys, Touch, Unit, apply, new_id
from whatisup.store.unit import Op
from whatisup.store.vault import _place

NOW = 1_700_000_000_123


def test_id_is_a_prefixed_ulid_of_its_time() -> None:
    made = new_id("inst", NOW, os.urandom)
    prefix, _, name = made.partition("_")
    assert prefix == "inst"
    assert round(ULID.from_str(name).timestamp * 1000) == NOW


def test_ids_of_one_millisecond_differ() -> None:
    assert len({new_id("evt", NOW, os.urandom) for _ in range(1000)}) == 1000


def test_every_operation_has_a_handler() -> None:
    assert set(apply.HANDLERS) == set(Op.__args__)


@pytest.mark.parametrize(
    "heavy",
    [PutAuth("kind", "key", b"x" * 100_000), AppendEvent("t", {"a": ["x" * 50_000, {"b": "y" * 50_000}]}, NOW),
     PutPrekeys(tuple((i, b"x" * 32) for i in range(200))), MarkPrekeys(tuple(range(1000)), "offered")],
    ids=lambda op: type(op).__name__,
)  # fmt: skip
def test_size_follows_what_is_written(heavy: Op) -> None:
    assert 100_000 < Unit("inst_1", 0, (heavy, Touch(NOW))).size < 300_000


def test_size_of_small_things_is_not_nothing() -> None:
    assert Unit("inst_1", 0, (Touch(NOW),)).size > 0
    assert Call(print).size > 0


def test_secret_operations_do_not_show_their_values() -> None:
    ops = (PutAuth("kind", "key", b"hush"), PutPrekeys(((1, b"hush"),)), AppendEvent("t", {"a": "hush"}, NOW))
    assert "hush" not in repr(Unit("inst_1", 0, ops))


def test_places_are_told_apart() -> None:
    places = {_place(*parts) for parts in (("a", "b", "c"), ("a", "bc", ""), ("ab", "", "c"), ("a", "b", "c", ""))}
    assert len(places) == 4
