"""Tests of pipeline/output."""
