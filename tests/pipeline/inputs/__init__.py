"""Tests of pipeline/inputs."""
