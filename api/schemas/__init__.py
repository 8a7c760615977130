"""The shapes of the edge: what clients may send, what they get, and how both are written.

Rule: this package knows neither HTTP statuses nor actors; it turns bytes into values and values into JSON and pictures.
"""
