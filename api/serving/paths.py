"""Which endpoint a path is, without a router's generality.

Rule: what is found here is what Quart's router would find. Where this finds nothing, Quart is asked and says why.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

from api.serving.endpoint import Endpoint

_Candidate: TypeAlias = tuple[Endpoint, tuple[tuple[int, str], ...], tuple[tuple[int, str], ...]]


class Paths:
    """Endpoints by method and number of segments; those that name more of their path come first."""

    def __init__(self, endpoints: Iterable[Endpoint]) -> None:
        self._candidates: dict[tuple[str, int], list[_Candidate]] = {}
        for endpoint in endpoints:
            segments = list(enumerate(endpoint.path.split("/")))
            names = tuple((at, segment[1:-1]) for at, segment in segments if segment.startswith("{"))
            words = tuple((at, segment) for at, segment in segments if not segment.startswith("{"))
            candidates = self._candidates.setdefault((endpoint.method, len(segments)), [])
            candidates.append((endpoint, words, names))
            candidates.sort(key=lambda candidate: [at for at, _ in candidate[2]], reverse=True)

    def find(self, method: str, path: str) -> tuple[Endpoint, dict[str, str]] | None:
        """Give the endpoint of a path (decoded) and what its variables stand for; a variable is never empty."""
        segments = path.split("/")
        for endpoint, words, names in self._candidates.get((method, len(segments)), ()):
            if all(segments[at] == word for at, word in words):
                params = {name: segments[at] for at, name in names}
                return (endpoint, params) if all(params.values()) else None
        return None
