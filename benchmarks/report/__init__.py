"""A run's folder as people and programs read it: a table at the terminal, JSON, Markdown and plots."""
