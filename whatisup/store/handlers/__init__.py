"""What each operation of a unit does to the rows, one file per concept; `apply.py` says which is which."""
