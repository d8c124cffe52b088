"""What a job would do, without labeling anything: for `check=true` of a run, and for `pipeline.plan`.

Doors: `check.run` finds faults; `estimate`, `rates`, `forecast` and `again` count, extrapolate and say what a change
would label again; `probe` labels a few videos into scratch to measure them. `look` opens videos and holds prompts
against them, `page` is the text of a check. Nothing is written to the output.
Uses: driver (the job is opened and planned as a run does it), inputs, video, tables. Imported by run and plan.
"""
