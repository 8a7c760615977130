"""Simulated people: phones that decrypt, answer and do what a script tells them."""

from __future__ import annotations

from whatisup.sandbox.people.people import People

__all__ = ["People"]
