"""Tests of pipeline/commits."""
