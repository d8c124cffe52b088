"""The driver: one process for each job. It makes the plan, hands out videos, commits what workers publish, and ends.

Doors: `driver.run(config)`; `driver.Parts` is what a test may put in place of Ray, of signals and of the pace.
Read `driver`, then `job` (open, plan, bring up to date), `loop`, and what the loop uses: `dispatch` with `waiting` and
`blame`, `workers`, `receipts` with `results`, `limits`, `hosts`. `run_record` and `log_file` tell machines of a run,
`progress` and `summary` tell people.
Uses: cluster, commits, inputs and all floors below. Imported by `run` and `demo` only; no worker imports it.
"""
