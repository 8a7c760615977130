"""`python -m whatisup.sandbox`: the sandbox alone; `whatisup sandbox` is the same behind the project's own command."""

from __future__ import annotations

import argparse
import sys

from whatisup.control import SWITCHES
from whatisup.protocol.profile import ClientVersion
from whatisup.sandbox.run import Options, main
from whatisup.sandbox.session import Compression
from whatisup.sandbox.switches import parse_switches


def _options(arguments: list[str]) -> Options:
    parser = argparse.ArgumentParser(prog="whatisup sandbox", description="A wire-compatible WhatsApp on loopback.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--tls", action="store_true", help="speak wss with a self-signed certificate")
    parser.add_argument("--state", help="file that keeps authority, accounts, devices and prekeys")
    parser.add_argument("--seed", type=int, help="fixes keys, numbers and references")
    parser.add_argument("--json", action="store_true", help="announce the addresses as one line of JSON")
    parser.add_argument("--compression", type=Compression, choices=list(Compression), default=Compression.LARGE)
    parser.add_argument("--min-version", type=ClientVersion.parse, help="refuse older clients with 405")
    parser.add_argument("--child", action="store_true", help="end when stdin closes; no mock phone")
    parser.add_argument("--switch", action="append", default=[], metavar="NAME", help=f"any of: {', '.join(SWITCHES)}")
    parsed = parser.parse_args(arguments)
    try:
        switches = parse_switches(parsed.switch)
    except ValueError as error:
        parser.error(str(error))
    return Options(
        host=parsed.host,
        port=parsed.port,
        use_tls=parsed.tls,
        state=parsed.state,
        seed=parsed.seed,
        compression=parsed.compression,
        min_version=parsed.min_version,
        is_child=parsed.child,
        use_json=parsed.json,
        switches=switches,
    )


if __name__ == "__main__":
    sys.exit(main(_options(sys.argv[1:])))
