"""The only room that knows Ray: where workers run, in this process or as actors, under one contract.

Doors: `executor.Executor` (the contract, and `SerialExecutor`), `ray_executor.RayExecutor`, `ray_metrics`.
Uses: worker, config. Imported by the driver.
"""
