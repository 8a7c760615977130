"""Whatever has a representation of its own shows no more of itself to rich, which asks structs for every field."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator

import msgspec
import pytest

import actors
import api
import whatisup
from whatisup.crypto import KeyPair, Secret, keypair_from_private
from whatisup.protocol.content.bodies import TextBody
from whatisup.wire.node import Node

# Not to be imported: they run, or need more than they are.
ELSEWHERE = ("__main__", "migrations.env")


def structs(root: type[msgspec.Struct] = msgspec.Struct) -> Iterator[type[msgspec.Struct]]:
    for kind in root.__subclasses__():
        yield kind
        yield from structs(kind)


def guarded() -> list[type[msgspec.Struct]]:
    """Our structs with a representation of their own."""
    for package in (whatisup, actors, api):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith(ELSEWHERE) and ".migrations.versions." not in module.name:
                importlib.import_module(module.name)
    own = [kind for kind in structs() if kind.__module__.split(".")[0] in ("whatisup", "actors", "api")]
    return [kind for kind in own if kind.__repr__ is not msgspec.Struct.__repr__]


def test_structs_that_hide_something_hide_it_from_rich() -> None:
    found = guarded()
    assert KeyPair in found
    assert [kind for kind in found if kind.__rich_repr__ is msgspec.Struct.__rich_repr__] == []


class Derived(Secret, frozen=True):
    key: bytes


@pytest.mark.parametrize(
    "value",
    [
        keypair_from_private(b"\x07" * 32),
        Derived(b"\x07" * 32),
        TextBody(text="\x07" * 32),
        Node("enc", {}, b"\x07" * 32),
    ],
    ids=lambda value: type(value).__name__,
)
def test_rich_is_told_no_field(value: msgspec.Struct) -> None:
    assert list(value.__rich_repr__()) == []
