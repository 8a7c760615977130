"""`whatisup demo`: the guided tour."""

from __future__ import annotations

import sys

import click


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def demo(arguments: tuple[str, ...]) -> None:
    """The guided tour: one number's life in about two minutes."""
    from api.demo import main

    sys.exit(main(list(arguments)))
