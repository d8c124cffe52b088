"""Tests of pipeline/driver."""
