"""`whatisup doctor`: what stands between you and a working gateway, one line a check, and what to do about it.

Rule: it changes nothing; least of all does it upgrade a store.
"""

from __future__ import annotations

import os
import sys
import time
from typing import Final

import click

from api.cli.checks import Finding, Level, examine

_INDENT: Final = 7


@click.command()
def doctor() -> None:
    """Check settings, secrets, database, clock, sandbox, disk and webhooks, and say what to do.

    Ends with 1 if anything is WRONG; a note is something to know.
    """
    is_well = True
    for finding in examine(os.environ, time.time):
        is_well = is_well and finding.level is not Level.WRONG
        click.echo(_shown(finding))
    sys.exit(0 if is_well else 1)


def _shown(finding: Finding) -> str:
    line = f"{finding.level.value:<{_INDENT}}{finding.topic}: {finding.text}"
    return line if finding.remedy is None else f"{line}\n{'':<{_INDENT}}-> {finding.remedy}"
