"""Tests of pipeline/cluster."""
