"""What a worker writes below `output=`: the three tables as segments, and saved sessions.

Doors: `schema` (the tables' contract), `segment_writer.SegmentWriter`, `saved_sessions`.
Uses: masks' codes, storage, records. It never imports `commits`.
"""
