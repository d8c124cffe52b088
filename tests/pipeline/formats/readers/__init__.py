"""Tests of pipeline/formats/readers."""
