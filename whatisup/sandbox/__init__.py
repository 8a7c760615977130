"""A WhatsApp to develop against: a wire-compatible server with simulated phones, a control API and faults by name.

Unmodified clients accept it. It binds loopback unless told otherwise, and nobody real is behind its numbers.
"""

from __future__ import annotations

from whatisup.sandbox.run import Options, main, serve_sandbox
from whatisup.sandbox.switches import parse_switches

__all__ = ["Options", "main", "parse_switches", "serve_sandbox"]
