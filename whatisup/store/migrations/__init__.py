"""Numbered schema upgrades. `REVISIONS` lists them in order, so that a start need not import alembic to compare."""

from __future__ import annotations

from typing import Final

REVISIONS: Final = ("0001", "0002", "0003")
HEAD: Final = REVISIONS[-1]
