"""The edge: people and programs."""
