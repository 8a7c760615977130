"""The work: a module for each scenario, each a function of what runs (`benchmarks.live.Live`) that gives figures."""
