"""What a detector and a tracker write behind the boxes and polygons of YOLO: a score, a track, both, or neither."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.formats.label import Label, LabelPolygons
from pipeline.formats.labels import read_labels

BOX, RING = "0 0.5 0.5 0.2 0.2", "0 0.1 0.1 0.5 0.1 0.5 0.5 0.1 0.5"


def read(folder: Path, shape: str, *texts: list[str]) -> list[Label]:
    for number, tails in enumerate(texts):
        (folder / f"cup_{number:05d}.txt").write_text("".join(f"{shape} {tail}\n" for tail in tails))
    return list(read_labels(str(folder), "yolo" if shape == BOX else "yolo_seg"))


@pytest.mark.parametrize("shape", [BOX, RING])
@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ([["1", "2"], ["1"]], [(None, 1), (None, 2), (None, 1)]),
        ([["1"], ["1"]], [(None, 1), (None, 1)]),
        ([["1"], ["0.75"]], [(1.0, None), (0.75, None)]),
        ([["1", "1"]], [(1.0, None), (1.0, None)]),
        ([["0.75 1"], ["0.5 2"], ["1"]], [(0.75, 1), (0.5, 2), (1.0, None)]),
        ([[""], [""]], [(None, None), (None, None)]),
    ],
)
def test_a_number_behind_a_shape_is_a_score_or_a_track_as_the_folder_tells(
    tmp_path: Path, shape: str, texts: list[list[str]], expected: list[tuple[float | None, int | None]]
) -> None:
    found = read(tmp_path, shape, *texts)
    assert [(label.score, label.object_key) for label in found] == expected


def test_a_score_and_a_track_are_no_corner_of_a_polygon(tmp_path: Path) -> None:
    shapes = [label.shape for label in read(tmp_path, RING, ["0.9 3"], ["0.8 1"], [""])]
    assert {len(shape.rings[0]) for shape in shapes if isinstance(shape, LabelPolygons)} == {8}
    assert len(shapes) == 3


def test_a_polygon_that_ends_at_the_lower_edge_keeps_its_last_corner(tmp_path: Path) -> None:
    (label,) = read(tmp_path, RING, ["0.3 1"])
    assert isinstance(label.shape, LabelPolygons)
    assert label.shape.rings[0][-2:] == (0.3, 1.0)


@pytest.mark.parametrize(
    ("shape", "tail", "told"),
    [
        (BOX, "85.3", "its score is 85.3, not 0 to 1"),
        (BOX, "7 2", "its score is 7, not 0 to 1"),
        (RING, "0.3 1.5", "its coordinates are no fractions of the picture"),
    ],
)
def test_numbers_that_are_neither_are_refused(tmp_path: Path, shape: str, tail: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
        read(tmp_path, shape, [tail])
