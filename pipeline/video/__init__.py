"""Frames of a video: files, folders and tar members opened, decoded, numbered and read ahead.

Doors: `media.open_media`, `frames.VideoFrames`, `selection.FrameSelection`, `encode` (writes a video file).
Uses: storage, model (orientation, frames). It never imports `commits`.
"""
