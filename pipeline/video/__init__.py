"""Frames of a video: its file or folder is opened, decoded, numbered, decoded ahead, walked both ways.

Doors: `media.open_media` (bytes), `frames.VideoFrames` (frames), `selection.FrameSelection` (which frames are labeled),
`encode` (writes a video file). What makes frames of a file, and the formats of files, are in `model.media`. Times are
compared in `time_range` and `grid` alone; `reading_report` says what a person is told.
Uses: config, storage, records, and of model `Frame` and what reads files.
Imported by inputs, worker and demo. It never imports `commits` or `inputs`.
"""
