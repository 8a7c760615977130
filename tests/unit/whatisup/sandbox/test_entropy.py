from __future__ import annotations

from whatisup.sandbox.entropy import Seed


def test_seed_of_the_same_number_gives_the_same_bytes() -> None:
    assert Seed.of(1).stream("a", 2)(40) == Seed.of(1).stream("a", 2)(40)


def test_seed_of_another_number_gives_other_bytes() -> None:
    assert Seed.of(1).stream("a")(32) != Seed.of(2).stream("a")(32)


def test_seed_without_a_number_never_repeats() -> None:
    assert Seed.of(None).stream("a")(32) != Seed.of(None).stream("a")(32)


def test_stream_never_repeats_itself() -> None:
    stream = Seed.of(1).stream("a")
    assert len({stream(16) for _ in range(100)}) == 100


def test_streams_of_different_names_differ() -> None:
    seed = Seed.of(1)
    assert len({seed.stream(*labels)(16) for labels in (("a",), ("b",), ("a", "b"), ("ab",), ("a", 1), ("a", 11))}) == 6


def test_stream_gives_as_many_bytes_as_asked() -> None:
    stream = Seed.of(1).stream("a")
    assert [len(stream(length)) for length in (1, 32, 1000)] == [1, 32, 1000]
