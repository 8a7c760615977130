"""The dictionaries are the ones both sides agreed on, to the byte."""

from __future__ import annotations

import hashlib

from whatisup.wire.tokens import DICTIONARY_VERSION, DOUBLE_BYTE, SINGLE_BYTE

# Over all strings in order, joined by line feeds; published with the dictionaries.
DIGEST = "cfe8fcd3ef24f232ec7df9824e1baa277f6a736543efc0e5f48aa46abb0f8cd0"


def test_tokens_hash_to_the_published_digest():
    strings = [*SINGLE_BYTE, *(text for dictionary in DOUBLE_BYTE for text in dictionary)]
    assert hashlib.sha256("\n".join(strings).encode()).hexdigest() == DIGEST


def test_tokens_fill_their_tables_without_repeating():
    # decode_node relies on it: an index out of a table means that the data ended.
    assert len(SINGLE_BYTE) == 236
    assert [len(dictionary) for dictionary in DOUBLE_BYTE] == [256] * 4
    assert len(set(SINGLE_BYTE).union(*DOUBLE_BYTE)) == 236 + 4 * 256
    assert SINGLE_BYTE[0] == ""
    assert DICTIONARY_VERSION == 3
