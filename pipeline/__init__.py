"""Moves data around the model: tables of videos and prompts go in, tables of masks come out. This is the map.

    room       what it is                                                             may use the rooms below it
    run status compact   the commands                         tables   what notebooks read
    demo       draws clips, labels them, scores them
    driver     one process a job: plans, hands out videos, commits results, ends
    cluster    where workers run: in this process or as Ray actors (the only room that knows Ray)
    worker     one process a GPU: owns a model and labels videos (it has no door to the commit log)
    commits    what the driver alone writes below output=: the commit log, the owner, job.json; compaction
    inputs     what videos= and prompts= name: tables, checked and planned
    output     what a worker writes below output=: tables as segments, saved sessions; the names of all files
    video      frames: opened, decoded, numbered, read ahead
    masks      run-length codes from logits, IoU, overlays
    config     the keys of a job
    storage    URIs, stores, retries, local disk (the only room that knows fsspec)
    command text errors records redact arrays   what every room shares

The way of a frame, from a file to a row of `masks`:

    driver.dispatch ─WorkItem─> worker.worker ─> video.media ─> video.frames ─> model ─logits─> worker.mask_encoder
           ^                                                                                           │ masks: RLE
           └── commits.committer <─Report── output.segment_writer (a Parquet segment) <── output.mask_rows

`docs/architecture.md` draws the floors; `make lint` holds them (import-linter, in pyproject.toml).
"""
