"""The notebook room: what people look at, one video, frame or track of a job at a time.

`tables.open(uri).video(id)` gives a `Clip` (`clip.py`), `clip.frame(37)` a `Picture` of masks and ids (`pictures.py`),
`clip.track(1)` a `Track` (`track.py`), `job.masks()` `Rows` (`rows.py`). Frames come from the video's own file, by the
job's reader (`source_frames.py`).
May use: output, video, masks and below. Never imported by: worker, cluster, driver.
"""
