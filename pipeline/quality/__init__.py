"""The quality room: how good masks are, how two sets of masks differ, and which tracks are doubtful.

`pairs.py` scores masks against true ones from their runs, without decoding a frame: J in `runs.py`, F in
`boundary.py`. `conventions.py` says which objects and frames count, `evaluation.py` applies that to a video, and
`hota.py` asks trackeval. `sources.py` reads both sides, `alignment.py` pairs their frames and objects, `scoring.py`
goes over a whole job. `comparison.py` tells how two outputs differ, `series.py` gives two tracks frame by frame.
`doubt.py` says which tracks are doubtful, of the `signals.py` and `shapes.py` of their rows, by the weights of
`blend.py`; `track_columns.py` makes columns of `tracks` of it, for the worker. May use: tables, command and below.
"""
