"""Simulated people: phones that decrypt, answer and do what a script tells them."""
