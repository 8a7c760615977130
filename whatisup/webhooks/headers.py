"""The headers that a customer adds to deliveries, such as `Authorization`.

Rule: they may say who is calling, never what is sent: framing, routing, types and signatures are ours.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from whatisup.webhooks.refusals import HeadersRefused

MAX_HEADERS: Final = 20
MAX_NAME_CHARS: Final = 64
MAX_VALUE_CHARS: Final = 2048
MAX_TOTAL_CHARS: Final = 8192

FRAMING: Final = frozenset(
    {
        "accept-encoding",
        "connection",
        "content-length",
        "expect",
        "host",
        "http2-settings",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""Names, in lower case, that decide how a request is read: the client sets these and nobody else."""

_OURS: Final = FRAMING | {"accept", "content-encoding", "content-type", "user-agent"}
_OUR_PREFIXES: Final = ("webhook-", "x-whatisup-", "proxy-")
_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_VALUE: Final = re.compile(r"[!-~](?:[ -~]*[!-~])?")


def check_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return a copy of `headers`, or raise `HeadersRefused`.

    At most 20, names are tokens of up to 64 characters and not ours, values up to 2048 printable ASCII characters
    without spaces at their ends, 8192 characters together.
    """
    if len(headers) > MAX_HEADERS:
        raise HeadersRefused(f"at most {MAX_HEADERS} custom headers are sent along")
    if len({name.lower() for name in headers}) != len(headers):
        raise HeadersRefused("header names are compared without case: name each once")
    for name, value in headers.items():
        _check_name(name)
        if len(value) > MAX_VALUE_CHARS or not _VALUE.fullmatch(value):
            raise HeadersRefused(f"header values are 1 to {MAX_VALUE_CHARS} printable ASCII characters")
    if sum(len(name) + len(value) for name, value in headers.items()) > MAX_TOTAL_CHARS:
        raise HeadersRefused(f"custom headers may have {MAX_TOTAL_CHARS} characters in all")
    return dict(headers)


def _check_name(name: str) -> None:
    if len(name) > MAX_NAME_CHARS or not _NAME.fullmatch(name):
        raise HeadersRefused(f"header names are tokens of 1 to {MAX_NAME_CHARS} letters, digits and hyphens")
    if name.lower() in _OURS or name.lower().startswith(_OUR_PREFIXES):
        raise HeadersRefused(
            "Host, Content-*, User-Agent, Accept*, hop-by-hop, Proxy-*, Webhook-* and X-WhatIsUp-* headers are not "
            "yours to set; choose another name"
        )
