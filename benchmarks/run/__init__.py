"""A run: which laps, in which order, within what time; and how far it is."""
