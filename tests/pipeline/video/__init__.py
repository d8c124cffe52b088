"""Tests of pipeline/video."""
