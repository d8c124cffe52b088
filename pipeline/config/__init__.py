"""The keys of a job: `job_config` (typed groups, checked once) and `compose` (Hydra: base, job file, command line).

Uses: storage, text, errors. Used by: command, driver, worker, cluster, demo. It imports neither Ray nor torch.
"""
