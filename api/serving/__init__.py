"""The way of a request from the server to its handler and back; what a route is, and what every route works with."""
