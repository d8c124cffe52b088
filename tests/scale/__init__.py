"""The scheduler at the size of large jobs: `python -m tests.scale`, and `.start` and `.tail` for what a user waits for.

`python -m tests.scale.outputs` is compaction and reading: µs a row, actors on Ray, jobs of 10⁴ and 10⁵ segments.
`python -m tests.scale.fleet` is a thousand workers on a clock of its own: how much of their time goes into labeling,
and how many videos a second one driver takes. `python -m tests.scale.known` is a run that finds nothing to do, over
10⁵, 10⁶ and 10⁷ known videos, and `python -m tests.scale.watched` a night that brings 3,000 to a watched bucket.
At 10⁷ known videos the first takes 54 s of the processor and 2.5 GB, the second 5 s and 0.5 GB.

Where it would break at 10⁸ videos, on paper, from what is measured at 10⁶:

* Memory comes first. The driver keeps a known video in columns: about 60 bytes of the log and 150 of the plan (id,
  address, times, sums of its prompts and where they lie). One that was finished in this run is a text of about 250
  bytes until the next run reads the roll-up. 10⁸ videos are 25 GB. What would help: a plan in shards of 10⁷ videos,
  each finished before the next is read.
* The roll-up is one object, about 28 bytes a video: 2.8 GB, a minute of the driver's time to write. They come 2,000
  entries apart by then: with 20 videos a segment and one segment an entry, 5 million entries are 2,500 roll-ups of
  1.4 GB on average, 3.5 TB. It would have to be split by ranges of ids, of which only those that changed are written.
* Listing: three objects a segment are 15 million names, a thousand a request: 15,000 requests, 5,000 in a row for each
  table, about ten minutes. Compaction divides this by ten or more; keeping the log's own list of what was swept would
  need only the newest epoch's names.
* The driver's rate does not break: a few thousand videos a second are 10⁸ in half a day, where 200 actors need months.
  With 10⁵ actors it would, and jobs would have to be split into outputs by a hash of the id.
* A single job of that size is better run as ten or a hundred of them, one output each; readers take a list of datasets.
"""
