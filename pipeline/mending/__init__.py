"""The mending room: one object on one frame is corrected by clicks, a box or a brush, from the job's own weights.

`mender.py` opens corrections and keeps a few; `correction.py` is one of them: what was said, and the mask that follows.
`job_network.py` loads the weights, `clip_frames.py` reads frames, `known_masks.py` looks up masks and prompts of the
job, `recalled.py` makes the memory that the frame had, `saving.py` writes what was accepted.
May use: worker, tables, notebook, reviews and below. Never imported by: rooms of its own floor and below.
"""
