"""Helpers of the tests: clips, jobs, servers, fakes; no tests."""
