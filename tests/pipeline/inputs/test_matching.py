"""What is told of names in the prompts that no video has."""

from __future__ import annotations

import unicodedata

import pytest

from pipeline.inputs.matching import did_you_mean


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_names_that_look_the_same_are_told_apart(form: str) -> None:
    """Names of files on macOS have their accents as characters of their own, and those in tables mostly do not."""
    other = "NFD" if form == "NFC" else "NFC"
    video, name = (unicodedata.normalize(one, "Café") for one in (form, other))
    told = did_you_mean([name], ["tea", video])
    assert told.startswith(f"; did you mean {video!r} by {name!r}?")
    assert (f"change yours by unicodedata.normalize('{form}', …)") in told


def test_nothing_is_said_of_accents_where_names_differ_otherwise() -> None:
    assert did_you_mean(["Cup.MP4"], ["cup", "tea"]) == "; did you mean 'cup' by 'Cup.MP4'?"
    decomposed = unicodedata.normalize("NFD", "café")
    assert did_you_mean(["CAFÉ.mp4"], [decomposed]) == f"; did you mean {decomposed!r} by 'CAFÉ.mp4'?"


def test_names_that_differ_by_their_numbers_are_no_misspelled_ones() -> None:
    assert did_you_mean(["Robot Arm 02"], ["Robot Arm 01", "Robot Arm 03"]) == ""
    assert did_you_mean(["Robot Arn 02"], ["Robot Arm 01", "Robot Arm 02"]) == (
        "; did you mean 'Robot Arm 02' by 'Robot Arn 02'?"
    )
