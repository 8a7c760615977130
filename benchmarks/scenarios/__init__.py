"""The work: a module for each scenario, each a function of what runs (`benchmarks.live.Live`) that gives figures.

Beside them is what several of them ask of it: `passages.py` how long messages took, `endpoint.py` a webhook receiver.
"""
