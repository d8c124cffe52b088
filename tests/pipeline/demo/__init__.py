"""Tests of pipeline/demo."""
