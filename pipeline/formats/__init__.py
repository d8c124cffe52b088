"""Formats of others: what the masks become, and where labels come from.

Doors: `labels.read_labels` (reading, for `prompts` and `evaluate`), and the export engine with its writers.
One module a format in `readers/`. A reader yields `label.Label` in the words of its format and never
holds a whole file.
Uses: tables, inputs (reading with retries), masks, storage. It never imports `quality`.
"""
