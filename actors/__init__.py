"""The running system: who owns which state."""
