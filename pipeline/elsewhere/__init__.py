"""The elsewhere room: reviews that people made in CVAT or Label Studio come back into the job.

`cvat_document.py` and `label_studio_document.py` read what a program has written, `comparing.py` holds it against what
went out, `taking_in.py` writes what is new below `reviews/`, `boxes.py` asks the job's network for the mask of a box.
May use: mending, formats, tables, reviews and below. Never imported by: anything but the door `prompts`.
"""
