"""Tests of model/pixels."""
