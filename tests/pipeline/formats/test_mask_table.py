"""Labels of other formats as a table of true masks."""

from __future__ import annotations

from pipeline.formats.mask_table import KnownVideos


def test_only_endings_of_videos_and_pictures_are_left_out_of_names() -> None:
    """A label of `clip.9` was taken for one of `clip.1`."""
    found = KnownVideos({"clip.1": None, "b/film.mp4": None, "c/one.mov": None, "d/one.mp4": None}).ids_by_name()
    assert found == {"clip.1": "clip.1", "film": "b/film.mp4"}
