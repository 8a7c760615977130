"""The document as a page for people, and what is found at `/`.

Rule: the page loads nothing but `/openapi.json`, from here. Its style and script are inside it and allowed by their
hashes, so not even a line that somebody smuggled into the document could be run.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from typing import Final

from api.schemas.index import Index
from api.schemas.requests import NoQuery, Nothing
from api.serving.endpoint import JSON, Access, Answer, Endpoint, Exchange

HTML: Final = "text/html"

_HTML_TYPE: Final = f"{HTML}; charset=utf-8"
_POLICY: Final = (
    "default-src 'none'; connect-src 'self'; img-src data:; script-src '{script}'; style-src '{style}'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)

Plain = Exchange[Nothing, NoQuery]


@cache
def _page() -> tuple[str, Mapping[str, str]]:
    """The page with its style and script put in, and the headers that allow these two and nothing else."""
    folder = files("api") / "static"
    page, style, script = ((folder / name).read_text(encoding="utf-8") for name in ("docs.html", "docs.css", "docs.js"))
    page = page.replace("/* docs.css */", style).replace("/* docs.js */", script)
    headers = {
        "Content-Security-Policy": _POLICY.format(script=_hash(script), style=_hash(style)),
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-cache",
    }
    return page, headers


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")


async def show(_exchange: Plain) -> Answer:
    """Give the page."""
    page, headers = _page()
    return Answer(page, media_type=_HTML_TYPE, headers=headers)


async def index(exchange: Plain) -> Answer:
    """Say what this is: with the page to a browser, with a few lines to a program."""
    if exchange.accepts((JSON, HTML)) == HTML:
        return await show(exchange)
    return Answer(Index(version=version("whatisup")))


ENDPOINTS: Final = (
    Endpoint(
        method="GET",
        path="/",
        name="get_index",
        summary="Say what this is and where to go on.",
        handler=index,
        access=Access.ANYBODY,
        reply=Index,
        media={HTML: "For browsers: the page that is at `/docs`."},
    ),
    Endpoint(
        method="GET",
        path="/docs",
        name="get_docs",
        summary="Show this document as a page.",
        handler=show,
        access=Access.ANYBODY,
        reply=None,
        media={HTML: "The page; it loads nothing from elsewhere."},
    ),
)
