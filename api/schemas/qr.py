"""A QR as a picture: PNG, SVG or terminal art. The text goes in, nothing is kept."""

from __future__ import annotations

import base64
import io

import segno

_QUIET_ZONE = 4
_PIXELS_PER_MODULE = 6

# Upper and lower half of one character cell, each dark or not. Light modules are drawn and dark ones left out, since a
# terminal is usually dark and a scanner wants dark modules on light ground.
_CELLS = {(False, False): "█", (False, True): "▀", (True, False): "▄", (True, True): " "}


def _code(text: str) -> segno.QRCode:
    return segno.make_qr(text, error="l", boost_error=False)


def png(text: str) -> bytes:
    """Draw `text` as a PNG."""
    out = io.BytesIO()
    _code(text).save(out, kind="png", scale=_PIXELS_PER_MODULE, border=_QUIET_ZONE)
    return out.getvalue()


def svg(text: str) -> bytes:
    """Draw `text` as an SVG document."""
    out = io.BytesIO()
    _code(text).save(out, kind="svg", scale=_PIXELS_PER_MODULE, border=_QUIET_ZONE, light="#fff", svgns=True)
    return out.getvalue()


def terminal_art(text: str) -> str:
    """Draw `text` with half blocks, two rows of modules to a line, for a terminal with a dark background."""
    rows = [[bool(module) for module in row] for row in _code(text).matrix_iter(border=2)]
    if len(rows) % 2:
        rows.append([True] * len(rows[0]))
    pairs = zip(rows[::2], rows[1::2], strict=True)
    return "".join("".join(_CELLS[cell] for cell in zip(upper, lower, strict=True)) + "\n" for upper, lower in pairs)


def data_url(text: str) -> str:
    """Draw `text` as a PNG inside a `data:` URL, as the API's `qr` fields carry it."""
    return "data:image/png;base64," + base64.b64encode(png(text)).decode("ascii")
