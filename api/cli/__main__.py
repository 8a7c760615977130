"""`python -m api.cli`: the same as the `whatisup` command."""

from __future__ import annotations

from api.cli import main

main()
