"""`whatisup sandbox`: the sandbox WhatsApp alone, for a gateway elsewhere or for any other client."""

from __future__ import annotations

import sys
from typing import Any

import click

from whatisup import sandbox as whatsapp
from whatisup.control import SWITCHES
from whatisup.errors import WhatIsUpError
from whatisup.protocol import ClientVersion


class _Version(click.ParamType[ClientVersion]):
    name = "a.b.c"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> ClientVersion:
        try:
            return value if isinstance(value, ClientVersion) else ClientVersion.parse(value)
        except (ValueError, WhatIsUpError) as error:
            self.fail(str(error), param, ctx)


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="0 takes a free one.")
@click.option("--tls", is_flag=True, help="Speak wss with a self-signed certificate.")
@click.option("--state", type=click.Path(dir_okay=False), help="File that keeps authority, accounts and devices.")
@click.option("--seed", type=int, help="Fixes keys, numbers and references.")
@click.option("--json", "use_json", is_flag=True, help="Announce the addresses as one line of JSON.")
@click.option("--min-version", type=_Version(), help="Refuse older clients with 405.")
@click.option("--switch", multiple=True, metavar="NAME", help=f"Any of: {', '.join(SWITCHES)}.")
@click.option("--child", is_flag=True, help="End when stdin closes; no mock phone.")
def sandbox(child: bool, tls: bool, switch: tuple[str, ...], **options: Any) -> None:
    """Run a sandbox WhatsApp alone."""
    try:
        switches = whatsapp.parse_switches(switch)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--switch") from None
    sys.exit(whatsapp.main(whatsapp.Options(is_child=child, use_tls=tls, switches=switches, **options)))
