"""Frames of a video: its file or folder is opened, decoded, numbered, decoded ahead, walked both ways.

Doors: `media.open_media` (bytes), `frames.VideoFrames` (frames), `selection.FrameSelection` (which frames are labeled),
`encode` (writes a video file). A new file format is added in `formats`.
Uses: config, storage, records, and of model `Frame`, `Orientation` and `VIDEO_FORMATS`.
Imported by inputs, worker and demo. It never imports `commits` or `inputs`.
"""
