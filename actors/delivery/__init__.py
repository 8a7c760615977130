"""Webhooks on their way: the client that posts them, and the guard between it and the network."""
