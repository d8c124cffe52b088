"""The data engine room: which tracks people look at next, what they say of them, and what follows from it.

`queue.py` chooses the tracks of a queue from a stream, `costs.py` says how long a check takes, `audit.py` how good the
tracks are at which nobody looked. `verdicts.py` is the table of what reviewers said, which a review server writes;
`reviewed.py` takes it for a fit of the weights (`calibration.py`). `recompute.py` measures tracks of earlier programs.
May use: quality, tables and below. Never imported by: worker, cluster, driver.
"""
