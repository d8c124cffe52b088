"""`conf=verify`: walks tracks of a finished job back to their prompts, and says which do not get there.

Door: `verify.run(config)`. `choosing` says which tracks are walked and from which mask. `verify` has the ordinary
driver label the walks as a job of its own below the output, and holds where they came out against the prompts.
Uses: driver, tables, data_engine and the floors below. Imported by `run` alone.
"""
