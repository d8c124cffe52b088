"""Whole key frames wait for the walk that looks at them, and for no other one."""

from __future__ import annotations

import pytest
import torch

from model import Frame
from pipeline.worker.key_pictures import KeyPictures


def picture(value: int) -> torch.Tensor:
    return torch.full((2, 3, 3), value, dtype=torch.uint8)


def frame(index: int) -> Frame:
    return Frame(index, torch.zeros(1, 1, 3, dtype=torch.uint8))


def test_key_frames_wait_until_they_are_taken_and_others_are_not_kept() -> None:
    pictures = KeyPictures()
    pictures.is_key = lambda index: index % 2 == 0
    with pictures.taken():
        for index in range(4):
            pictures.keep(index, picture(index))
        assert (pictures.take(frame(2)) == 2).all()
        assert pictures.take(frame(0)).shape == (2, 3, 3)
        for index in (1, 2):  # none of it, and taken before
            with pytest.raises(KeyError):
                pictures.take(frame(index))


def test_a_frame_that_was_decoded_ahead_of_the_walk_is_there_and_a_later_walk_keeps_none() -> None:
    pictures = KeyPictures()
    pictures.is_key = lambda index: True
    pictures.keep(0, picture(7))
    with pictures.taken():
        assert (pictures.take(frame(0)) == 7).all()
        pictures.keep(1, picture(8))
    pictures.keep(2, picture(9))
    for index in (1, 2):
        with pytest.raises(KeyError):
            pictures.take(frame(index))


def test_a_walk_that_begins_again_takes_the_key_frames_once_more() -> None:
    pictures = KeyPictures()
    pictures.is_key = lambda index: True
    with pictures.taken():
        pictures.keep(0, picture(7))
    with pictures.taken():
        pictures.keep(0, picture(7))
        assert (pictures.take(frame(0)) == 7).all()
