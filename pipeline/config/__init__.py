"""The keys of a job: their fields, their defaults, their checks, and what is said about them.

`job_config`: the groups of keys, frozen pydantic models, checked once.   `compose`: Hydra's layers over each other.
`fields`: what a key says about itself, for `mistakes` (one line for a wrong value) and `key_help` (`--help`).
A new key is a field of its group and a line in its consumer; it has a line in conf/ where a file there sets it.

Uses: storage, text, errors; of `model`, the names of bundled weights. Never imports Ray or torch.
Used by: run, command, demo, driver, cluster, worker, output, commits.
"""
