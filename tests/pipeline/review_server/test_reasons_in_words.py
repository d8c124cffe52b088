"""Reasons read as sentences, also where the table has no frame or no value."""

from __future__ import annotations

import pytest

from pipeline.quality.reasons import Reason
from pipeline.review_server.reasons_in_words import COLUMN_OF, CYCLE_IOU, in_words


@pytest.mark.parametrize("reason", [reason for reason in Reason if reason in COLUMN_OF])
def test_each_reason_is_a_sentence_with_and_without_its_frame(reason: Reason) -> None:
    row = {"doubt_reasons": [reason.value, reason.value], "doubt_frame": 37, COLUMN_OF[reason]: 0.25}
    first, second = in_words(row)
    assert first["frame"] == 37
    assert "frame 37" in first["sentence"]
    assert second["frame"] is None
    for one in (first, second):
        assert one["sentence"].endswith(".")
        assert "{" not in one["sentence"]
    assert "frame 37" not in second["sentence"]
    assert any(word in second["sentence"] for word in ("0.25", "0.2", "25%", " 0 "))


def test_jumps_have_frames_of_their_own() -> None:
    row = {
        "doubt_reasons": ["low_iou", "area_jump", "shape_jump"],
        "doubt_frame": 3,
        "predicted_iou_mean": 0.5,
        "area_jump": 4.0,
        "area_jump_frame": 7,
        "shape_iou_min": 0.1,
        "shape_jump_frame": 9,
    }
    assert [one["frame"] for one in in_words(row)] == [3, 7, 9]
    assert in_words(row)[1]["sentence"].endswith("its area changes 4.0-fold, on frame 7.")


def test_a_walk_back_to_the_prompt_is_told_with_what_it_found() -> None:
    row = {"doubt_reasons": ["cycle"], "doubt_frame": 9}
    assert in_words(row)[0]["sentence"] == "cycle"
    unplaced = in_words({"doubt_reasons": ["low_iou", "cycle"], "doubt_frame": 9, CYCLE_IOU: 0.12})[1]
    assert unplaced["sentence"] == "Walked back, it does not get to its prompt: an IoU of 0.12."
    assert "0.12" in in_words(row | {CYCLE_IOU: 0.12})[0]["sentence"]


def test_codes_of_newer_programs_and_tracks_without_reasons_are_shown_as_they_are() -> None:
    assert in_words({"doubt_reasons": ["sparkles"], "doubt_frame": 1}) == [
        {"code": "sparkles", "sentence": "sparkles", "frame": None}
    ]
    assert in_words({"doubt_reasons": None, "doubt_frame": None}) == []
