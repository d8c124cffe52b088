"""Tests of model/media."""
