"""What a connected instance costs, measured from outside on whole processes. Run `make bench`; see README.md."""
