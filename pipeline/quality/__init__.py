"""The quality room: how good masks are, and how two sets of masks differ.

`pairs.py` scores masks against true ones from their runs, without decoding a frame: J in `runs.py`, F in
`boundary.py`. `conventions.py` says which objects and frames count, `evaluation.py` applies that to a video, and
`hota.py` asks trackeval. `sources.py` reads both sides, `alignment.py` pairs their frames and objects.
May use: tables, command and below. Never imported by: formats, worker, cluster, driver.
"""
