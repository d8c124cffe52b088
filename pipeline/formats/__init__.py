"""Formats of others: what the masks become, and where labels come from.

Doors: `engine.export` and `registry.FORMATS` (writing); `labels.read_labels` (reading, for `prompts` and `evaluate`).
One module a format in `writers/` and `readers/`. `writer.VideoWriter` is what a format is to the engine,
`source.ExportVideo` what it gets, `folder.PartFolder` where it writes. A reader yields `label.Label` in the words of
its format and never holds a whole file.
Uses: tables, notebook (frames of videos), inputs (reading with retries), masks, storage. It never imports `quality`.
"""
