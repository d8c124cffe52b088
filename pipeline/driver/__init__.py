"""The driver, one process a job: plans, hands out videos, commits what workers publish, ends honestly.

Door: `driver.run(config)`. Read `driver`, then `job`, `loop`, `dispatch`, `blame`, `results`.
Uses: cluster, commits, inputs and all floors below. Imported by `run` and `demo` only.
"""
