"""Nodes to bytes and back: the plaintext of one transport frame.

    plaintext = flag byte | node          flag & 2: the rest is a zlib stream (RFC 1950)
    node      = list header(count) | tag | { key | value }* | [content]
    count     = 1 + 2 * attributes + (1 if there is content)

Every string becomes the first of these that fits: a token, digits packed two to a byte, upper-case hex packed likewise,
raw UTF-8. Raw text in content position decodes as bytes, since nothing on the wire tells them apart.

Rule: any bytes at all decode to a `Node` or raise `RemoteProtocolError`, within fixed bounds of memory and time.

Source: WhatsApp Web, as whatsmeow and Baileys do it; where they differ (empty attributes, trailing bytes, which form a
JID takes) as whatsmeow does.
"""

from __future__ import annotations

import zlib
from functools import lru_cache
from typing import Final

from whatisup.errors import LocalProtocolError, RemoteProtocolError
from whatisup.jid import (
    DOMAIN_SERVERS,
    HOSTED_LID_SERVER,
    HOSTED_SERVER,
    INTEROP_SERVER,
    LEGACY_PN_SERVER,
    LID_SERVER,
    MESSENGER_SERVER,
    PN_SERVER,
    Jid,
    JidError,
    from_domain,
)
from whatisup.wire.node import Node
from whatisup.wire.tokens import DOUBLE_BYTE, SINGLE_BYTE

MAX_INFLATED: Final = 64 * 2**20
"""Most bytes that a compressed node may inflate to. Ours: the sources have no bound."""

MAX_RATIO: Final = 64
"""Most bytes that one compressed byte may inflate to, beyond `FREE_INFLATED`: nodes of honest content stay below a
tenth of that, and three bytes of a bomb would make us work for a second. Ours."""

FREE_INFLATED: Final = 64 * 2**10
"""How many bytes any compressed node may inflate to."""

MAX_DEPTH: Final = 64
"""Deepest nesting, the root being 1. Ours: the sources have no bound."""

MAX_ELEMENTS: Final = 2**20
"""Most nodes plus attributes in one tree: three bytes on the wire cost some two hundred in memory. Ours."""

_COMPRESSED: Final = 2
_FAST: Final = 1  # the level: what is compressed here crosses no slow line

_LIST_EMPTY: Final = 0
_DICTIONARY_0: Final = 236
_INTEROP_JID: Final = 245
_FB_JID: Final = 246
_AD_JID: Final = 247
_LIST_8: Final = 248
_LIST_16: Final = 249
_JID_PAIR: Final = 250
_HEX_8: Final = 251
_BINARY_8: Final = 252
_BINARY_20: Final = 253
_BINARY_32: Final = 254
_NIBBLE_8: Final = 255

_LEAF: Final = bytes((_LIST_8, 2))  # the head of a node of a tag and content

_LISTS: Final = frozenset({_LIST_EMPTY, _LIST_8, _LIST_16})
_BINARIES: Final = frozenset({_BINARY_8, _BINARY_20, _BINARY_32})
_JIDS: Final = frozenset({_INTEROP_JID, _FB_JID, _AD_JID, _JID_PAIR})

# The text of a token of one byte, None for the bytes that begin something else.
_SINGLE: Final[tuple[str | None, ...]] = tuple(
    SINGLE_BYTE[head] if 0 < head < _DICTIONARY_0 else None for head in range(256)
)
_TOKENS: Final[dict[str, bytes]] = {
    text: bytes((_DICTIONARY_0 + number, index))
    for number, dictionary in enumerate(DOUBLE_BYTE)
    for index, text in enumerate(dictionary)
} | {text: bytes((index,)) for index, text in enumerate(SINGLE_BYTE) if index}

# An account talks with the same few people all the time. Both caches hold addresses only, of at most a kilobyte each.
_CACHED_JIDS: Final = 2048

# The packed alphabets beyond the decimal digits, as the hex digit of their value. 12 to 14 mean nothing in a nibble
# string; 15, the filler of an odd length, reads as NUL anywhere else.
_PACK_NIBBLES: Final = str.maketrans("-.", "ab")
_UNPACK_NIBBLES: Final = str.maketrans("abf", "-.\0")
_MAX_PACKED: Final = 127
_ODD: Final = 0x80

_AD_DOMAINS: Final = {server: domain for domain, server in DOMAIN_SERVERS.items()} | {LEGACY_PN_SERVER: 0}
# whatsmeow writes these as AD_JID whatever the device, and phone numbers and LIDs only for a device above 0.
_ALWAYS_AD: Final = frozenset({HOSTED_SERVER, HOSTED_LID_SERVER})
_AD_WITH_DEVICE: Final = frozenset({PN_SERVER, LID_SERVER, LEGACY_PN_SERVER})


def encode_node(node: Node, *, compress: bool = False) -> bytes:
    """Return the plaintext of a frame, flag byte included; attributes in their order, empty ones left out.

    Only the server compresses. Raises `LocalProtocolError` for a tree that the format or a bound cannot hold.
    """
    out = bytearray(1)
    _write_node(out, node, 1)
    return compress_node(out) if compress else bytes(out)


def compress_node(encoded: bytes | bytearray) -> bytes:
    """Return the compressed form of an uncompressed plaintext, both with their flag byte."""
    return bytes((_COMPRESSED,)) + zlib.compress(memoryview(encoded)[1:], _FAST)


def decode_node(data: bytes) -> Node:
    """Read the plaintext of a frame, flag byte included.

    Raises `RemoteProtocolError` for anything that is not exactly one node, and beyond `MAX_INFLATED`, `MAX_RATIO`,
    `MAX_DEPTH` and `MAX_ELEMENTS`.
    """
    if not data:
        raise RemoteProtocolError("an empty frame holds no node")
    reader = _Reader(_inflate(data[1:]), 0) if data[0] & _COMPRESSED else _Reader(data, 1)
    try:
        node = reader.node(1)
    except IndexError:
        # Invariant: token tables are full, so only reading past the end indexes out of range. Asking before every
        # byte would cost more than all the rest.
        raise RemoteProtocolError("the node ends early") from None
    except JidError as error:
        raise RemoteProtocolError(f"the node holds a broken JID: {error}") from None
    if reader.pos != len(reader.data):
        raise RemoteProtocolError("bytes are left over after the node")
    return node


# Writing


def _write_node(out: bytearray, node: Node, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise LocalProtocolError(f"nodes nest at most {MAX_DEPTH} deep")
    tag, content = node.tag, node.content
    if not tag:
        raise LocalProtocolError("a node needs a tag")
    attrs = [pair for pair in node.attrs.items() if pair[1]]
    _write_list(out, 1 + 2 * len(attrs) + (content is not None))
    known = _TOKENS.get
    if token := known(tag):
        out += token
    else:
        _write_string(out, tag)
    for key, value in attrs:
        if token := known(key):
            out += token
        else:
            _write_string(out, key)
        if isinstance(value, str):
            _write_string(out, value)
        else:
            out += _jid_bytes(value)
    if content is None:
        return
    if isinstance(content, bytes):
        _write_bytes(out, content)
    elif isinstance(content, str):
        _write_string(out, content)
    else:
        _write_list(out, len(content))
        for child in content:
            if not _write_leaf(out, child, depth + 1):
                _write_node(out, child, depth + 1)


def _write_leaf(out: bytearray, node: Node, depth: int) -> bool:
    """Write a node of the simplest form, or nothing: an upload or a digest of prekeys has hundreds of them."""
    data = node.content
    if node.attrs or not isinstance(data, bytes) or len(data) > 0xFF or depth > MAX_DEPTH:
        return False
    token = _TOKENS.get(node.tag)
    if token is None:
        return False
    out += b"".join((_LEAF, token, bytes((_BINARY_8, len(data))), data))
    return True


def _write_list(out: bytearray, count: int) -> None:
    if count == 0:
        out.append(_LIST_EMPTY)
    elif count < 0x100:
        out.append(_LIST_8)
        out.append(count)
    elif count < 0x10000:
        out.append(_LIST_16)
        out += count.to_bytes(2, "big")
    else:
        raise LocalProtocolError("a list holds at most 65535 items")


def _write_string(out: bytearray, text: str) -> None:
    token = _TOKENS.get(text)
    if token is not None:
        out += token
        return
    length = len(text)
    if 0 < length <= _MAX_PACKED:
        # strip() with an alphabet leaves nothing exactly when every character is of it.
        if not text.strip("0123456789-."):
            _write_packed(out, _NIBBLE_8, length, text.translate(_PACK_NIBBLES))
            return
        if not text.strip("0123456789ABCDEF"):
            _write_packed(out, _HEX_8, length, text)
            return
    _write_bytes(out, text.encode("utf-8", "replace"))


def _write_packed(out: bytearray, tag: int, length: int, digits: str) -> None:
    out.append(tag)
    if length & 1:
        out.append((length + 1) >> 1 | _ODD)
        out += bytes.fromhex(digits + "f")
    else:
        out.append(length >> 1)
        out += bytes.fromhex(digits)


def _write_bytes(out: bytearray, data: bytes) -> None:
    length = len(data)
    if length < 0x100:
        out.append(_BINARY_8)
        out.append(length)
    elif length < 0x100000:
        out.append(_BINARY_20)
        out += length.to_bytes(3, "big")
    elif length <= MAX_INFLATED:
        out.append(_BINARY_32)
        out += length.to_bytes(4, "big")
    else:
        raise LocalProtocolError(f"a value holds at most {MAX_INFLATED} bytes")
    out += data


@lru_cache(_CACHED_JIDS)
def _jid_bytes(jid: Jid) -> bytes:
    out = bytearray()
    _write_jid(out, jid)
    return bytes(out)


def _write_jid(out: bytearray, jid: Jid) -> None:
    server, user = jid.server, jid.user
    if user:
        if server in _ALWAYS_AD or ((jid.device or jid.agent) and server in _AD_WITH_DEVICE):
            out += bytes((_AD_JID, jid.agent or _AD_DOMAINS[server], jid.device))
            _write_string(out, user)
            return
        if server == MESSENGER_SERVER:
            out.append(_FB_JID)
            _write_string(out, user)
            out += jid.device.to_bytes(2, "big")
            _write_string(out, server)
            return
        if server == INTEROP_SERVER:
            out.append(_INTEROP_JID)
            _write_string(out, user)
            out += jid.device.to_bytes(2, "big") + jid.agent.to_bytes(2, "big")
            _write_string(out, server)
            return
    out.append(_JID_PAIR)
    if user:
        _write_string(out, user)
    else:
        out.append(_LIST_EMPTY)
    _write_string(out, server)


# Reading


def _inflate(body: bytes) -> bytes:
    stream = zlib.decompressobj()
    limit = min(MAX_INFLATED, max(FREE_INFLATED, MAX_RATIO * len(body)))
    try:
        inflated = stream.decompress(body, limit + 1)
    except zlib.error:
        raise RemoteProtocolError("the compressed node is broken") from None
    if len(inflated) > limit:
        raise RemoteProtocolError(f"the node inflates beyond {limit} bytes")
    if not stream.eof or stream.unused_data:
        raise RemoteProtocolError("the compressed node ends early or late")
    return inflated


class _Reader:
    """A position in one encoded node. Its methods raise `IndexError` where the data ends on a single byte."""

    __slots__ = ("data", "elements", "pos")

    def __init__(self, data: bytes, pos: int) -> None:
        self.data = data
        self.pos = pos
        self.elements = 0

    def node(self, depth: int) -> Node:
        if depth > MAX_DEPTH:
            raise RemoteProtocolError(f"the node nests more than {MAX_DEPTH} deep")
        count = self._list()
        if not count:
            raise RemoteProtocolError("a node is an empty list")
        tag = self._text()
        if not tag:
            raise RemoteProtocolError("a node has no tag")
        pairs = (count - 1) >> 1
        self.elements += 1 + pairs
        if self.elements > MAX_ELEMENTS:
            raise RemoteProtocolError(f"the node holds more than {MAX_ELEMENTS} nodes and attributes")
        attrs: dict[str, str | Jid] = {}
        data = self.data
        for _ in range(pairs):
            # Most keys are tokens of one byte: a call for each would cost as much as all the rest.
            key = _SINGLE[data[self.pos]]
            if key is None:
                key = self._text()
            else:
                self.pos += 1
            attrs[key] = self._value() or ""
        return Node(tag, attrs) if count & 1 else Node(tag, attrs, self._content(depth))

    def _content(self, depth: int) -> str | bytes | tuple[Node, ...]:
        head = self.data[self.pos]
        if head in _BINARIES:
            return self._binary()
        if head in _LISTS:
            count = self._list()
            return tuple([self._leaf(depth + 1) or self.node(depth + 1) for _ in range(count)])
        return str(self._value())

    def _leaf(self, depth: int) -> Node | None:
        """A node of the simplest form, in one go; nothing is read of any other."""
        data, pos = self.data, self.pos
        if data[pos] != _LIST_8 or data[pos + 1] != 2:
            return None
        tag = _SINGLE[data[pos + 2]]
        if tag is None or data[pos + 3] != _BINARY_8 or depth > MAX_DEPTH or self.elements >= MAX_ELEMENTS:
            return None
        end = pos + 5 + data[pos + 4]
        if end > len(data):
            return None
        self.elements += 1
        self.pos = end
        return Node(tag, {}, data[pos + 5 : end])

    def _list(self) -> int:
        data, pos = self.data, self.pos
        head = data[pos]
        if head == _LIST_8:
            self.pos = pos + 2
            return data[pos + 1]
        if head == _LIST_16:
            self.pos = pos + 3
            return data[pos + 1] << 8 | data[pos + 2]
        if head == _LIST_EMPTY:
            self.pos = pos + 1
            return 0
        raise RemoteProtocolError("something else stands where a list should")

    def _value(self) -> str | Jid | None:
        head = self.data[self.pos]
        if head in _JIDS:
            return self._known_jid(head) or self._jid()
        return self._string()

    def _known_jid(self, head: int) -> Jid | None:
        """The address in its usual form: packed digits, behind domain and device or before the token of a server."""
        data, pos = self.data, self.pos
        if head == _AD_JID:
            size_at, behind = pos + 4, 0
        elif head == _JID_PAIR:
            size_at, behind = pos + 2, 1
        else:
            return None
        if data[size_at - 1] != _NIBBLE_8:
            return None
        end = size_at + 1 + (data[size_at] & ~_ODD) + behind
        if behind and _SINGLE[data[end - 1]] is None:
            return None
        # Cut off, it is another address that is cut off as well, or an IndexError: both are refused as ever.
        jid = _read_jid(data[pos:end])
        self.pos = end
        return jid

    def _text(self) -> str:
        text = self._string()
        if text is None:
            raise RemoteProtocolError("a tag, key, user or server is null")
        return text

    def _string(self) -> str | None:
        # Invariant: never calls itself, so JIDs within JIDs cannot recurse.
        data, pos = self.data, self.pos
        head = data[pos]
        text = _SINGLE[head]
        if text is not None:
            self.pos = pos + 1
            return text
        if head in (_NIBBLE_8, _HEX_8):
            return self._packed(head)
        if head in _BINARIES:
            return self._binary().decode("utf-8", "replace")
        self.pos = pos + 1
        if head == _LIST_EMPTY:
            return None
        if head < _DICTIONARY_0 + len(DOUBLE_BYTE):
            return DOUBLE_BYTE[head - _DICTIONARY_0][self._byte()]
        raise RemoteProtocolError("something else stands where a string should")

    def _packed(self, head: int) -> str:
        data, start = self.data, self.pos + 2
        size = data[start - 1]
        end = start + (size & ~_ODD)
        if end > len(data):
            raise RemoteProtocolError("the node ends early")
        self.pos = end
        digits = data[start:end].hex()
        if size & _ODD:
            digits = digits[:-1]  # the filler is dropped whatever it is
        if head == _HEX_8:
            return digits.upper()
        if digits.isdecimal():
            return digits
        if digits.strip("0123456789abf"):
            raise RemoteProtocolError("a packed number holds an unknown digit")
        return digits.translate(_UNPACK_NIBBLES)

    def _jid(self) -> Jid:
        head = self._byte()
        if head == _JID_PAIR:
            user = self._string()
            return Jid(user or "", self._text())
        if head == _AD_JID:
            domain, device = self._byte(), self._byte()
            return from_domain(self._text(), domain, device)
        user, device = self._text(), self._short()
        agent = self._short() if head == _INTEROP_JID else 0
        server = MESSENGER_SERVER if head == _FB_JID else INTEROP_SERVER
        if self._text() != server:
            raise RemoteProtocolError(f"a JID in the form of {server} names another server")
        return Jid(user, server, device, agent)

    def _binary(self) -> bytes:
        head = self._byte()
        if head == _BINARY_8:
            size = self._byte()
        elif head == _BINARY_20:
            size = (self._byte() & 0x0F) << 16 | self._short()
        else:
            size = self._short() << 16 | self._short()
        end = self.pos + size
        if end > len(self.data):
            raise RemoteProtocolError("the node ends early")
        taken = self.data[self.pos : end]
        self.pos = end
        return taken

    def _byte(self) -> int:
        byte = self.data[self.pos]
        self.pos += 1
        return byte

    def _short(self) -> int:
        return self._byte() << 8 | self._byte()


@lru_cache(_CACHED_JIDS)
def _read_jid(data: bytes) -> Jid:
    return _Reader(data, 0)._jid()
