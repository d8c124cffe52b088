"""Moves data around the model: tables of videos and prompts in, tables of masks out, on Ray."""
