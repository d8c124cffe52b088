"""`check=true`: what a job would do, and which of its videos and prompts would fail, without labeling anything.

Door: `check.run`. `look` opens videos and holds prompts against them, `estimate` counts and extrapolates, `page` is the
text. Nothing is written and no model is loaded.
Uses: driver (the job is opened and planned as a run does it), inputs, video, tables. Imported by run.
"""
