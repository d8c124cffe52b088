"""Moves data around the model: tables of videos and prompts go in, tables of masks come out. This is the map.

    room       what it is                                                             may use the rooms below it
    doors      `maskmill NAME …`: goes through one of the doors below
    run status changes plan compact overlay report export evaluate compare prompts queue review rounds   the commands
    demo       draws clips, labels them, scores them
    check      check=true and plan: what a job would do and cost, and which videos would fail
    schedule   what happens around a run: steps after it, the end document, who is told
    review_server  people look at tracks in a browser: the server and its page
    elsewhere  reviews that people made in CVAT or Label Studio come back into the job
    verify     walks tracks of a finished job back to their prompts, by a job of the driver
    driver     one process a job: plans, hands out videos, commits results, ends
    cluster    where workers run: in this process or as Ray actors (the only room that knows Ray)
    mending    one object on one frame is corrected by clicks, from the job's own weights
    worker     one process a GPU: owns a model and labels videos (it has no door to the commit log)
    pages      HTML pages that stand alone: style, charts, pictures, every text escaped
    data_engine  which tracks people look at next, and what follows from what they say
    truth      true masks of any format, as evaluations and comparisons read them
    seeds      objects that nobody prompted, found on key frames while a video is walked
    standing   how a job stands, and why videos and objects failed
    formats    formats of others: written of the masks, read as labels
    quality    how good masks are (J, F, HOTA), how two sets differ, doubt
    tables     what notebooks read: the rows that the commit log counts
    command    exit codes and logging of the commands
    commits    the commit log, the owner, job.json: written by the driver, the log by a compaction too
    notebook   what people look at: one video, frame or track of a job
    inputs     what videos= and prompts= name: tables, checked and planned
    reviews    what people said of tracks, and the frames that they corrected
    output     what a worker writes below output=: tables as segments, saved sessions; the names of all files
    video      frames: opened, decoded, numbered, read ahead
    masks      run-length codes from logits, IoU, overlays
    config     the keys of a job
    storage    URIs, stores, retries, local disk (the only room that knows fsspec)
    text packages errors records redact arrays   what every room shares
    model      SAM 2 in torch, a package of its own; its map is in model/__init__.py and docs/architecture.md

The way of a frame, from a file to a row of `masks`:

    driver.dispatch ─WorkItem─> worker.worker ─> video.media ─> video.frames ─> model ─logits─> worker.mask_encoder
           ^                                                                                           │ masks: RLE
           └── commits.committer <─Report── output.segment_writer (a Parquet segment) <── output.mask_rows

`docs/architecture.md` draws the floors, and its table "Where is it decided?" names file and function for each rule.
`make lint` holds the floors (import-linter, in pyproject.toml).
"""
