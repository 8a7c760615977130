"""What WhatsApp is and what we remember: the sans-IO protocol, the state table, the store and the sandbox."""
