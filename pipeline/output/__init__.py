"""What a worker writes below `output=`: the three tables as segments, and saved sessions. And every name there.

Doors: `layout` (what lies where), `schema` (the tables' contract), `segment_writer.SegmentWriter`, `segments` (find,
read, delete), `saved_sessions.SessionStore`.
Uses: config, storage, records and what is below. It never imports `commits`, because the driver alone writes the log.
"""
