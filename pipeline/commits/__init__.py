"""What the driver writes below `output=`: the commit log, `_owner.json`, `job.json`, `_status.json`. And compaction.

A compaction is a process of its own, and the one other writer of the log.

Doors: `log.CommitLog`, `committer.SegmentKeeper`, `owner.Ownership`, `job_record`, `status_file`, `compaction`.
A program that only reads a job needs `log`, or `pipeline.tables` above; what changed is told by `read_history`.
Uses: output, config, storage and what is below. The worker, inputs, video and output never import it.
"""
