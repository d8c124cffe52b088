"""The keys of a job: their fields, their defaults, their checks, and what is said about them.

`job_config`: the groups of keys, frozen pydantic models, checked once.   `compose`: Hydra's layers over each other.
`fields`: what a key says about itself, for `mistakes` (one line for a wrong value) and `key_help` (`--help`).
A new key is a field of its group and a line in its consumer: the whole config reaches every worker
(`worker.settings`). It has a line in `conf/` only where a file of `conf/` sets it.

Uses: storage, errors, redact; of `model`, the names of bundled weights. Never imports Ray or torch.
Used by: run, command, demo, driver, cluster, worker, commits, output, video.
"""
