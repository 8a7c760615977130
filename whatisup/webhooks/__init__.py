"""What a webhook is, without sending one: where it may go, what it carries, how it is signed, when it is tried again.

Rule: no I/O, no clock, no randomness; times, entropy and policy are arguments.
"""
