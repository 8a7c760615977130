"""The parties to a client's connection: each owns one conversation with the server and nothing else.

Rule: a party speaks through the `Exchange` it is given and never to another party; the connection routes.
"""
