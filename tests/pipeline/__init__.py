"""Tests of the engine, the tables and the command."""
