"""The stanzas: every `build_x` stands beside its `parse_x`, so that client and sandbox share one description.

Rule: a builder returns a `Node` and a parser a value or `RemoteProtocolError`; neither remembers anything.
"""
