"""Where workers run: in this process, or as Ray actors. Both executors have one contract. No other room knows Ray.

Doors: `executor` (the contract `Executor`, and `SerialExecutor`), `ray_executor.RayExecutor`; for commands `tasks`.
Inside: `ray_cluster` (starting or joining Ray, room for actors), `ray_losses` (why an actor is gone), `ray_metrics`.
Uses: worker, config and all floors below. Imported by the driver; workers, commits and inputs never import it.
"""
