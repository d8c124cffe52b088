"""The reviews room: what people said of tracks and how they corrected them, as create-only files below `reviews/`.

`verdicts.py` is the table of verdicts, `corrections.py` that of corrected frames. Reviewers write both, the next run of
the job and readers of its tables take them in. `files.py` writes and reads the files, so that reviewers who work at the
same time lose nothing of each other.
May use: output, masks, storage and below. Never imported by: config and below.
"""
