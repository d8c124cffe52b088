"""Tests of model/tracking."""
