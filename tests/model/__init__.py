"""Tests of the network and the video session."""
