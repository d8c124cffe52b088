"""The scheduler at the size of large jobs, without a network: see `python -m tests.scale --help`."""
