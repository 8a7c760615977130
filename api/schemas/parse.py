"""Bytes and query strings into request values; whatever is wrong is named, with its remedy.

Rule: a peer's input ends as a value of the asked type or as `Invalid`, and nothing else, whatever it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import msgspec

from api.schemas import hints

T = TypeVar("T", bound=msgspec.Struct)

MAX_DEPTH = 16
MAX_ECHO = 100
NOTHING_LATER: Mapping[tuple[str, str], str] = {}

_PATH = re.compile(r" - at `(?:key in )?\$\.?(?P<path>[^`]*)`\Z")
_MISSING = re.compile(r"Object missing required field `(?P<field>.*)`\Z", re.DOTALL)
_UNKNOWN = re.compile(r"Object contains unknown field `(?P<field>.*)`\Z", re.DOTALL)
_NO_SUCH_TAG = re.compile(r"Invalid value '(?P<tag>.*)'\Z", re.DOTALL)
_NO_SUCH_VALUE = re.compile(r"Invalid enum value '(?P<value>.*)'\Z", re.DOTALL)
_NO_MATCH = "Expected `str` matching regex"


class Invalid(ValueError):
    """Something the client sent is wrong. `code` is the public code, `field` what is wrong if one thing is."""

    def __init__(self, message: str, *, field: str | None = None, code: str = "validation_failed") -> None:
        super().__init__(message)
        self.field = field
        self.code = code


def parse_json(raw: bytes, kind: type[T]) -> T:
    """Decode a body into `kind`; an empty body counts as `{}`.

    Raises:
        Invalid: `invalid_json`, or `validation_failed` with the field.
    """
    try:
        return msgspec.json.decode(raw or b"{}", type=kind)
    except msgspec.ValidationError as error:
        raise _explain(error, kind, _as_it_came(raw)) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Invalid(f"the body is not JSON: {error}", code="invalid_json") from None
    except RecursionError:
        raise Invalid("the body is nested too deeply", code="invalid_json") from None


def parse_query(pairs: Iterable[tuple[str, str]], kind: type[T]) -> T:
    """Read query parameters into `kind`; each may come once.

    Raises:
        Invalid: `validation_failed` with the parameter, or `bad_cursor`.
    """
    values: dict[str, str] = {}
    for name, value in pairs:
        if name in values:
            raise Invalid(f"the parameter `{name[:MAX_ECHO]}` came twice", field=name[:MAX_ECHO])
        values[name] = value
    try:
        query = msgspec.convert(values, kind, strict=False)
    except msgspec.ValidationError as error:
        raise _explain(error, kind, values) from None
    for name in values:
        if getattr(query, name) is None:
            # What a script makes of an unset variable would otherwise be a page nobody asked for.
            raise Invalid(f"`{name}` is wrong: leave it out instead of sending `{values[name][:MAX_ECHO]}`", field=name)
    return query


def _as_it_came(raw: bytes) -> Any:
    """Read a body that was refused once more, for hints; None where what follows the mistake is no JSON at all."""
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _explain(error: msgspec.ValidationError, kind: type[msgspec.Struct], said: Any) -> Invalid:
    """Turn the decoder's sentence into a field and a remedy; `said` is the request as it came."""
    if isinstance(error.__cause__, Invalid):
        return error.__cause__
    text = str(error)
    at = _PATH.search(text)
    path = at["path"] if at else ""
    what = text[: at.start()] if at else text
    if refused := _NO_SUCH_TAG.match(what):
        return _no_such(path, refused["tag"], hints.variants_at(kind, path, said), getattr(kind, "LATER", {}))
    if refused := _NO_SUCH_VALUE.match(what):
        return _no_such(path, refused["value"], hints.values_at(kind, path, said))
    if missing := _MISSING.match(what):
        field = _join(path, missing["field"])
        return Invalid(f"`{field}` is required", field=field)
    if unknown := _UNKNOWN.match(what):
        field = _join(path, unknown["field"])[:MAX_ECHO]
        fields = hints.fields_at(kind, path, said)
        known = "" if fields is None else f"; known are {', '.join(fields) or 'none'}"
        return Invalid(f"`{field}` is not known here: remove it{known}", field=field)
    if what.startswith(_NO_MATCH) and (wanted := hints.description_at(kind, path, said)):
        what = f"it takes {wanted[:1].lower()}{wanted[1:].rstrip('.')}"
    sentence = what[:1].lower() + what[1:]
    if not path:
        return Invalid(f"the body is wrong: {sentence}"[:400])
    return Invalid(f"`{path}` is wrong: {sentence}"[:400], field=path)


def _no_such(
    path: str, value: str, known: Iterable[str], later: Mapping[tuple[str, str], str] = NOTHING_LATER
) -> Invalid:
    """Say of a value that there is not what there is, or that it is to come: `later` maps field and value to a code."""
    code = later.get((path, value))
    if code is not None:
        return Invalid(f"`{path}`: `{value}` is not built yet", field=path, code=code)
    there_are = f"; there are {', '.join(known)}" if known else ""
    return Invalid(f"`{path}` is wrong: there is no `{value[:MAX_ECHO]}`{there_are}", field=path)


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def check_text(field: str, value: str) -> str:
    """Refuse characters that no label needs: controls (NUL among them) and lone surrogates."""
    if any(ord(c) < 0x20 or 0x7F <= ord(c) < 0xA0 or 0xD800 <= ord(c) < 0xE000 for c in value):
        raise Invalid(f"`{field}` holds a control character: remove it", field=field)
    if not value.strip():
        raise Invalid(f"`{field}` is blank: write something", field=field)
    return value


def check_metadata(field: str, value: Mapping[str, Any], max_bytes: int) -> None:
    """Refuse metadata that cannot be stored and returned unchanged, or is too large or too deep."""
    _check_value(field, value, MAX_DEPTH)
    size = len(msgspec.json.encode(value))
    if size > max_bytes:
        raise Invalid(f"`{field}` takes {size} bytes as JSON: keep it within {max_bytes}", field=field)


def _check_value(field: str, value: object, depth: int) -> None:
    if depth == 0:
        raise Invalid(f"`{field}` is nested deeper than {MAX_DEPTH} levels: flatten it", field=field)
    if isinstance(value, str):
        if "\0" in value:
            raise Invalid(f"`{field}` holds a NUL character: remove it", field=field)
    elif isinstance(value, int):
        if not -(2**63) <= value < 2**63:
            raise Invalid(f"`{field}` holds a number beyond 64 bits: write it as a string", field=field)
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            _check_value(field, name, depth)
            _check_value(field, inner, depth - 1)
    elif isinstance(value, list):
        for inner in value:
            _check_value(field, inner, depth - 1)
