"""The engine of messages, sans-IO: opens what comes in, seals what goes out, and says what the server is owed.

Rule: it works on a keyring of working copies; nothing has happened until the caller has committed the changes.
"""
