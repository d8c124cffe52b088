"""Tests of model/weights."""
