"""Tests of pipeline/storage."""
