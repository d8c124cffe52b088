"""Tests of pipeline/formats."""
