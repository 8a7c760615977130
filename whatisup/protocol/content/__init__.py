"""What a message says: bodies that customers write and read, and the protobuf messages that carry them."""

from __future__ import annotations
