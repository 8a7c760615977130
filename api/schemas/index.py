"""What stands at `/`: where everything else is."""

from __future__ import annotations

from api.schemas.replies import API_VERSION, Reply


class Index(Reply, frozen=True, kw_only=True):
    """What this is, and where to go on."""

    name: str = "WhatIsUp"
    version: str
    api_version: str = API_VERSION
    docs: str = "/docs"
    openapi: str = "/openapi.json"
    health: str = "/readyz"
