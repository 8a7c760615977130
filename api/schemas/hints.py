"""What would have been right: the fields, variants or values that a request takes at the place where it went wrong.

Rule: a hint comes from the very type that refused, so it cannot differ from what is accepted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

from msgspec import Struct, inspect

_STEP = re.compile(r"[^.\[\]]+|\[[^\]]*\]")


def fields_at(kind: type[Struct], path: str, said: Any) -> list[str] | None:
    """Return the fields of the object at `path`, or None where that cannot be told.

    `said` is the request as it came: its tags choose among variants.
    """
    for place, value in _places(kind, path, said):
        if isinstance(place, inspect.StructType) and _is_meant(place, value):
            tag = [place.tag_field] if place.tag_field is not None else []
            return tag + [field.encode_name for field in place.fields]
    return None


def variants_at(kind: type[Struct], path: str, said: Any) -> list[str]:
    """Return the values of the tag at `path`, which chooses among variants."""
    above = path.rpartition(".")[0]
    return [
        str(place.tag) for place, _ in _places(kind, above, said) if isinstance(place, inspect.StructType) and place.tag
    ]


def values_at(kind: type[Struct], path: str, said: Any) -> list[str]:
    """Return the few values that may stand at `path`."""
    for place, _ in _places(kind, path, said):
        if isinstance(place, inspect.EnumType):
            return [str(member.value) for member in place.cls]
        if isinstance(place, inspect.LiteralType):
            return [str(value) for value in place.values]
    return []


def description_at(kind: type[Struct], path: str, said: Any) -> str:
    """Return the sentence that describes what stands at `path`; empty if there is none."""
    for described, _ in _walk(_type_of(kind), _STEP.findall(path), said):
        for place in _unfolded(described, keeps_metadata=True):
            if isinstance(place, inspect.Metadata) and place.extra_json_schema:
                return str(place.extra_json_schema.get("description", ""))
    return ""


@cache
def _type_of(kind: type[Struct]) -> inspect.Type:
    return inspect.type_info(kind)


def _places(kind: type[Struct], path: str, said: Any) -> Iterator[tuple[inspect.Type, Any]]:
    for place, value in _walk(_type_of(kind), _STEP.findall(path), said):
        for plain in _unfolded(place):
            yield plain, value


def _walk(place: inspect.Type, steps: list[str], said: Any) -> Iterator[tuple[inspect.Type, Any]]:
    """Follow a path through a type and through what was said, side by side."""
    if not steps:
        yield place, said
        return
    for plain in _unfolded(place):
        inner = _inside(plain, steps[0], said)
        if inner is not None:
            yield from _walk(inner, steps[1:], _value_inside(said, steps[0]))


def _inside(place: inspect.Type, step: str, said: Any) -> inspect.Type | None:
    if isinstance(place, inspect.VarTupleType | inspect.ListType):
        return place.item_type if step.startswith("[") else None
    if isinstance(place, inspect.StructType) and _is_meant(place, said):
        return next((field.type for field in place.fields if field.encode_name == step), None)
    return None


def _value_inside(said: Any, step: str) -> Any:
    if isinstance(said, dict):
        return said.get(step)
    index = step.strip("[]")
    if isinstance(said, list) and index.isdecimal() and int(index) < len(said):
        return said[int(index)]
    return None


def _is_meant(place: inspect.StructType, said: Any) -> bool:
    """Tell whether the tag that was sent chooses this variant; what has no tag is meant always."""
    return place.tag is None or (isinstance(said, dict) and said.get(place.tag_field) == place.tag)


def _unfolded(place: inspect.Type, *, keeps_metadata: bool = False) -> Iterator[inspect.Type]:
    """Take a type out of its description and a union apart."""
    if isinstance(place, inspect.Metadata):
        if keeps_metadata:
            yield place
        yield from _unfolded(place.type, keeps_metadata=keeps_metadata)
    elif isinstance(place, inspect.UnionType):
        for member in place.types:
            yield from _unfolded(member, keeps_metadata=keeps_metadata)
    else:
        yield place
