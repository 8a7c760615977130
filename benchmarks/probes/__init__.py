"""What is read while a lap runs: memory and CPU from outside, rows, commits, how late the loop is, spreads of times."""
