"""Tests of model/hf."""
