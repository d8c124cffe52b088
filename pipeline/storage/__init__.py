"""The only room that knows fsspec: URIs, ranges, tars, a job's objects, faults and retries, local disk.

Doors: `job_storage.JobStorage`, `uris.open_filesystem`, `parquet`, `faults`, `retry.Backoff`, `scratch`.
Uses: errors, redact. Everything above uses it.
"""
