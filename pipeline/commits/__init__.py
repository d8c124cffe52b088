"""What the driver alone writes below `output=`: the commit log, the owner, `job.json`, `_status.json`; and compaction.

Doors: `log.CommitLog`, `committer.SegmentKeeper`, `owner.Ownership`, `job_record`, `compaction`.
Readers need `log` only.
Uses: output, config, storage. The worker, inputs and output never import it.
"""
