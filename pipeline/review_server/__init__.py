"""The review_server room: people look at tracks in a browser and say what they think; served from this machine.

`app.py` makes the ASGI app and says what page and server promise each other (the contract of fix mode is there),
`state.py` holds what a running review knows, `track_list.py` its list, `verdict_book.py` what reviewers said,
`frame_store.py`, `mask_store.py` and `filmstrips.py` what is shown. `fixing.py` is the server's half of fix mode,
`page/` the browser's files, which need no build.
May use: everything but the doors and rooms of its own floor. Never imported by: any room below.
"""
