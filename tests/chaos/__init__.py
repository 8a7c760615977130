"""Kill everything that can be killed while people talk, and count afterwards: `python -m tests.chaos`.

`plan.py` draws a run from its seed, `stage.py` starts the processes, `traffic.py` lets both sides write, `mayhem.py`
does the harm, `evidence.py` collects what every side has in the end, and `verdict.py` counts. `receiver.py` is where
the customer's webhooks go meanwhile, `hooks.py` and `hook_verdict.py` are the evidence and the count of those.
"""
