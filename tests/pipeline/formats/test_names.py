"""Ids of videos as names of files and folders."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.formats.plan import safe_name

ANY = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
IDS = ANY | st.text(st.sampled_from("aA._-/~ é"), max_size=12)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(st.lists(IDS, max_size=12, unique=True))
def test_different_ids_have_different_names_also_where_one_is_called_as_another_is_named(ids: list[str]) -> None:
    ids = list(dict.fromkeys([*ids, *(safe_name(video_id) for video_id in ids)]))
    names = {safe_name(video_id) for video_id in ids}
    plain = {video_id for video_id in ids if safe_name(video_id) == video_id}
    assert len(names) == len(ids)
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{1,100}", name) for name in names)
    assert all(re.fullmatch(r"[A-Za-z0-9_-]+", video_id) for video_id in plain)


def test_names_stay_readable_and_are_the_same_in_every_export() -> None:
    assert safe_name("clip-1_b") == "clip-1_b"
    assert safe_name("kitchen/pan.v2.mp4") == "kitchen_pan_v2_mp4-588ee8fb19"
    assert safe_name("猫") == "video-a810bf845a"
    assert safe_name("x" * 300).startswith("x" * 80 + "-")
