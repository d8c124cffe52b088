"""The order of the files of a folder. The expected order is that of the numbers from which the names are written."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from model.media.file_names import image_names, stems_of_several


@pytest.mark.parametrize(
    "ordered",
    [
        ["a.png", "f9.png", "f9a.png", "f010.png", "f10.png"],
        [f"frame{number}.png" for number in (0, 1, 9, 10, 11, 100)],
        [f"{1700000000 + eighth / 8}.jpg" for eighth in range(20)],
        [f"{number / 4}.jpg" for number in range(-5, 45)],
        [f"t_{number / 4}.jpg" for number in range(-5, 45)],
        [f"{number / 100:.2f}.png" for number in range(90, 120)],
        [f"{number}.tif" for number in (-10, -3, -2, 0, 1, 5, 10)],
        [f"scene{scene}.{frame}.jpg" for scene in (1, 2, 10) for frame in range(1, 13)],
        [f"clip.{number}.jpg" for number in range(12)],
        [f"2024.01.{day}.jpg" for day in range(1, 32)],
        [f"10.0.0.{host}.jpg" for host in (1, 2, 10, 20)],
        [f"cam-{number}.jpg" for number in range(12)],
        [f"v1.10/{number}.jpg" for number in range(12)],
        ["1.jpg", "1.png", "1.5.jpg", "2.jpg"],
    ],
    ids=lambda ordered: ordered[1],
)
def test_files_come_in_the_order_of_the_numbers_in_their_names(ordered: Sequence[str]) -> None:
    for seed in range(3):
        shuffled = random.Random(seed).sample(ordered, len(ordered))
        assert image_names(shuffled) == ordered


def test_hidden_files_and_files_that_are_no_images_are_no_frames() -> None:
    assert image_names(["notes.txt", ".hidden.png", "2.PNG", "folder.d/.3.png", "1.jpeg"]) == ["1.jpeg", "2.PNG"]


def test_images_that_differ_in_their_ending_only_are_told() -> None:
    names = ["0.jpg", "0.png", "1.jpg", "1.png", "2.jpg"]
    assert stems_of_several(names).startswith("4 of 5 images differ from another in the ending only, as 0.jpg")
    assert stems_of_several(["0.jpg", "1.png"]) == ""
