"""Key `u` of the page takes back what a file from CVAT says of one track, as its intake has written it."""

from __future__ import annotations

from pathlib import Path

from pipeline.reviews.corrections import read_corrections
from tests.pipeline.elsewhere.conftest import Out
from tests.support.cvat_task import CvatTask, polygon_shape
from tests.support.reviewing import Client, reviewing

CLIP = "clip-1"


def undo(client: Client, object_id: int) -> dict[str, object]:
    return client.post("api/undo", {"video_id": CLIP, "object_id": object_id, "reviewer": "ann"})


def counting(out: Out) -> set[tuple[int, int]]:
    """Object and frame of the corrections that count."""
    return {(one.object_id, one.frame_index) for one in read_corrections(out.storage).get(CLIP, ())}


def test_one_track_of_a_task_is_taken_back_with_its_verdict_and_its_split(out: Out, tmp_path: Path) -> None:
    exported = out.folder / "cvat_video"
    task = CvatTask.of(exported / "labels.json", exported / f"train/{CLIP}/annotations.xml")
    task.of_object(3).shapes[1] = polygon_shape(10, 10, 20, 10, 20, 20, 10, 20)
    task.split(task.of_object(3), 2)
    task.of_object(7).shapes[2].outside = True
    assert out.take_in(task.export(tmp_path / "annotations.xml"), "cvat_video") == 0
    assert counting(out) == {(3, 1), (3, 2), (8, 2), (7, 2)}
    with reviewing(out.uri) as client:
        told = undo(client, 3)
        assert (told["frames"], told["current"]) == ([1, 2], None)
        assert counting(out) == {(7, 2)}
        assert client.said() == {(CLIP, 7): "fix"}
        undo(client, 7)
        assert (counting(out), client.said()) == (set(), {})
