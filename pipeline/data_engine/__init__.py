"""The data engine room: which tracks people look at next, what they say of them, and what follows from it.

`queue.py` chooses the tracks of a queue from a stream, `costs.py` says how long a check takes, `audit.py` how good the
tracks are at which nobody looked. `reviewed.py` takes verdicts for a fit of the weights (`calibration.py`).
`recompute.py` measures tracks of earlier programs.
May use: quality, tables and below. Never imported by: worker, cluster, driver.
"""
