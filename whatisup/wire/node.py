"""The node: the tree that every stanza is, and a reader that checks many attributes in one go.

Rule: a JID is a `Jid` in the tree, never text that looks like one; and no representation shows content.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

from msgspec import Struct, field

from whatisup.errors import RemoteProtocolError
from whatisup.jid import SERVER, Jid

Content: TypeAlias = "str | bytes | tuple[Node, ...] | None"

_SHOWN_CHILDREN: Final = 8
_MAX_INTEGER_DIGITS: Final = 20  # 2**64 - 1 has twenty


class Node(Struct, frozen=True):  # as a frozen dataclass it would take six times as long to make
    """One element: a tag, attributes, and nothing, text, bytes or child nodes.

    The wire cannot tell text from bytes unless the text happens to be a token or a packed number: read textual content
    with `text_content()` and binary content with `bytes_content()`, and *write* keys, references and protobufs as
    bytes. `None` and an empty tuple are different on the wire.
    """

    tag: str
    attrs: Mapping[str, str | Jid] = field(default_factory=dict)
    content: Content = None

    def child(self, tag: str) -> Node | None:
        """Return the first child of that tag."""
        content = self.content
        if isinstance(content, tuple):
            for node in content:
                if node.tag == tag:
                    return node
        return None

    def children(self, tag: str | None = None) -> tuple[Node, ...]:
        """Return all children, or those of one tag; empty where the content is no list."""
        content = self.content
        if not isinstance(content, tuple):
            return ()
        return content if tag is None else tuple([node for node in content if node.tag == tag])

    @property
    def first(self) -> Node | None:
        """The first child."""
        return self.content[0] if isinstance(self.content, tuple) and self.content else None

    def bytes_content(self) -> bytes:
        """Return the content as bytes: text is encoded as UTF-8, no content or children give none."""
        content = self.content
        if isinstance(content, str):
            return content.encode("utf-8", "replace")
        return content if isinstance(content, bytes) else b""

    def text_content(self) -> str:
        """Return the content as text: bytes are decoded as UTF-8 with replacement, no content or children give none."""
        content = self.content
        if isinstance(content, bytes):
            return content.decode("utf-8", "replace")
        return content if isinstance(content, str) else ""

    def reader(self) -> AttrReader:
        """Return a checked reader of the attributes."""
        return AttrReader(self)

    def __repr__(self) -> str:
        attrs = "".join(f" {key}={str(value)!r}" for key, value in self.attrs.items())
        content = self.content
        if content is None:
            return f"<{self.tag}{attrs}/>"
        if isinstance(content, tuple):
            inner = "".join(repr(node) for node in content[:_SHOWN_CHILDREN])
            if len(content) > _SHOWN_CHILDREN:
                inner += f"<!-- {len(content) - _SHOWN_CHILDREN} more -->"
        else:
            inner = f"{len(content)} {'characters' if isinstance(content, str) else 'bytes'}"
        return f"<{self.tag}{attrs}>{inner}</{self.tag}>"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return []  # rich would show every field


class AttrReader:
    """Reads a node's attributes into types, collecting what is wrong until `check()` (whatsmeow's idea).

    An empty value counts as absent, since whatsmeow leaves empty attributes out and Baileys writes them. Until
    `check()` has passed, a required attribute that was wrong reads as `""`, 0 or the server's JID.
    """

    __slots__ = ("_attrs", "_problems", "_tag")

    def __init__(self, node: Node) -> None:
        self._tag = node.tag
        self._attrs = node.attrs
        self._problems: list[str] | None = None

    def string(self, key: str) -> str:
        """Read a required attribute as text.

        A JID reads as its text form: Baileys turns any text with `@` into one.
        """
        value = self._attrs.get(key)
        if not value:
            self._wrong(f"{key} is missing")
            return ""
        return value if isinstance(value, str) else str(value)

    def optional_string(self, key: str) -> str | None:
        """Read an attribute as text, `None` when absent or empty."""
        value = self._attrs.get(key)
        return (value if isinstance(value, str) else str(value)) if value else None

    def jid(self, key: str) -> Jid:
        """Read a required attribute that must be JID-typed on the wire."""
        value = self._attrs.get(key)
        if isinstance(value, Jid):
            return value
        self._wrong(f"{key} is not a JID" if value else f"{key} is missing")
        return SERVER

    def optional_jid(self, key: str) -> Jid | None:
        """Read an attribute that must be JID-typed where it is present."""
        value = self._attrs.get(key)
        if not value:
            return None
        if isinstance(value, Jid):
            return value
        self._wrong(f"{key} is not a JID")
        return None

    def integer(self, key: str) -> int:
        """Read a required decimal integer of up to 20 digits, perhaps negative."""
        text = self.string(key)
        return self._integer(key, text) or 0 if text else 0

    def optional_integer(self, key: str) -> int | None:
        """Read a decimal integer where the attribute is present."""
        text = self.optional_string(key)
        return None if text is None else self._integer(key, text)

    def _integer(self, key: str, text: str) -> int | None:
        digits = text.removeprefix("-")
        # int() alone would take spaces, underscores, foreign digits and any length.
        if digits.isascii() and digits.isdigit() and len(digits) <= _MAX_INTEGER_DIGITS:
            return int(text)
        self._wrong(f"{key} is not a number")
        return None

    def _wrong(self, problem: str) -> None:
        if self._problems is None:
            self._problems = []
        self._problems.append(problem)

    def check(self) -> None:
        """Raise `RemoteProtocolError` naming the tag and every attribute that was wrong, without their values."""
        if self._problems:
            raise RemoteProtocolError(f"<{self._tag}>: {', '.join(self._problems)}")
