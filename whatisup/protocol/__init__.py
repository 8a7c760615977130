"""One WhatsApp Web connection, sans-IO: its keys, pairing, login, prekeys, and the stanzas of both sides."""
