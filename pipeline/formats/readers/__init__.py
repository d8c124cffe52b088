"""Readers: one module a format or a family of formats, each a generator of `label.Label` in the order of its files.

Door: `pipeline.formats.labels`, which knows all of them by name. A reader gets a `label_files.LabelFiles` and the
options, holds one file or one entry in memory at a time, and says what is wrong with file, entry and remedy.
"""
