"""Tests of pipeline/masks."""
