"""Stores and local disk. The only room that knows fsspec.

Doors: `job_storage.JobStorage` (the objects of a job), `schemes` (what is known of each store), `uris.open_filesystem`
(anything else by URI), `documents.Document` (JSON with a version), `parquet`, `faults`, `retry.Backoff`, `scratch`.
Uses: errors, redact, records. Everything above uses it; it imports nothing of them.
"""
