"""Doubt about tracks, from their rows: a fault that is put into a sound track is named, with its frame."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipeline.quality.blend import Blend, Term
from pipeline.quality.doubt import Ranking, Signals, signals
from pipeline.quality.reasons import SENTENCES, Doubt, Reason
from pipeline.quality.signals import COLUMNS
from pipeline.quality.track_columns import columns_of
from pipeline.quality.track_rows import whole_tracks

SIZE_HW = (100, 200)
NUM_FRAMES = 30
Rows = dict[str, np.ndarray]


def sound(num_frames: int = NUM_FRAMES) -> Rows:
    """A box of 20 × 20 that moves slowly in the middle of the picture."""
    frames = np.arange(num_frames)
    return {
        "frame_index": frames * 2,
        "area": np.full(num_frames, 400),
        "bbox_x": 60 + frames,
        "bbox_y": np.full(num_frames, 40),
        "bbox_w": np.full(num_frames, 20),
        "bbox_h": np.full(num_frames, 20),
        "object_score": np.full(num_frames, 8.0),
        "predicted_iou": np.full(num_frames, 0.97),
        "is_prompt": frames == 0,
        "stability": np.full(num_frames, 0.98),
        "num_parts": np.ones(num_frames, int),
        "pointer_similarity": np.full(num_frames, 0.9),
    }


def hide(rows: Rows, at: slice) -> None:
    for column in ("area", "bbox_x", "bbox_y", "bbox_w", "bbox_h"):
        rows[column][at] = 0


def table(*tracks: Rows, video_id: str = "v") -> pa.Table:
    parts = []
    for number, rows in enumerate(tracks):
        count = len(rows["area"])
        parts.append(pa.table({"video_id": [video_id] * count, "object_id": [number] * count, **rows}))
    return pa.concat_tables(parts).select(COLUMNS)


BLEND = Blend(
    -3.0,
    {
        Reason.LOW_IOU: Term(0.1, 0.5, 3.0),
        Reason.IOU_DIPS: Term(0.35, 0.6, 2.0),
        Reason.UNSURE_STRETCH: Term(0.05, 0.5, 2.0),
        Reason.UNSTABLE: Term(0.1, 0.5, 2.0),
        Reason.WEAK_SCORE: Term(-2.0, 0.0, 2.0),
        Reason.LOST: Term(0.03, 0.4, 3.0),
        Reason.FLICKERS: Term(1.0, 6.0, 3.0),
        Reason.AREA_JUMP: Term(0.6, 2.5, 3.0),
        Reason.LEAP: Term(0.8, 3.0, 3.0),
        Reason.FRAGMENTS: Term(0.1, 0.6, 3.0),
        Reason.WHOLE_FRAME: Term(0.7, 0.9, 4.0),
    },
)
"""Weights under which each fault below is heard, whatever those of the program are fitted to."""


def doubts(rows: pa.Table, batch_size: int = 1 << 20, at_least: int = 1) -> list[Doubt]:
    found = []
    for tracks in whole_tracks(rows.combine_chunks().to_batches(batch_size), at_least):
        measured = signals(tracks, lambda video_id: SIZE_HW, BLEND)
        found += [measured.of(track) for track in range(len(tracks.starts))]
    return found


def test_nothing_speaks_against_a_sound_track() -> None:
    (doubt,) = doubts(table(sound()))
    assert doubt.doubt == 0
    assert doubt.grounds == ()
    assert doubt.frame_index is None


def _low(rows: Rows) -> None:
    rows["predicted_iou"][:] = 0.6
    rows["predicted_iou"][9] = 0.4


def _stretch(rows: Rows) -> None:
    rows["predicted_iou"][8:13] = 0.65
    rows["predicted_iou"][10] = 0.6  # the lowest, and not the last
    rows["predicted_iou"][20] = 0.5  # lower, but of another stretch


def _lost(rows: Rows) -> None:
    hide(rows, slice(20, None))


def _flickers(rows: Rows) -> None:
    for frame in (5, 9, 14, 20):
        hide(rows, slice(frame, frame + 1))


def _jump(rows: Rows) -> None:
    rows["area"][11:] = 1600
    rows["bbox_w"][11:] = rows["bbox_h"][11:] = 40


def _leap(rows: Rows) -> None:
    rows["bbox_x"][17:] += 80


def _everything(rows: Rows) -> None:
    rows["area"][25] = 19_000
    rows["bbox_x"][25], rows["bbox_y"][25], rows["bbox_w"][25], rows["bbox_h"][25] = 0, 0, 200, 100


def _weak(rows: Rows) -> None:
    rows["object_score"][12:18] = 0.5
    rows["object_score"][14] = 0.1


def _unstable(rows: Rows) -> None:
    rows["stability"][[3, 20, 21]] = 0.5, 0.7, 0.8


def _unlike(rows: Rows) -> None:
    rows["pointer_similarity"][[4, 20, 21]] = 0.3, -0.2, 0.1


def _dips(rows: Rows) -> None:
    rows["predicted_iou"][[3, 20, 21]] = 0.5, 0.2, 0.5


def _fragments(rows: Rows) -> None:
    rows["num_parts"][10:25] = 2
    rows["num_parts"][19] = 4


@pytest.mark.parametrize(
    ("spoil", "reason", "row", "value"),
    [
        (_low, Reason.LOW_IOU, 9, (29 * 0.6 + 0.4) / 30),
        (_stretch, Reason.UNSURE_STRETCH, 10, 5),
        (_lost, Reason.LOST, 20, 1 / 3),
        (_flickers, Reason.FLICKERS, 5, 4),
        (_jump, Reason.AREA_JUMP, 11, 4),
        (_leap, Reason.LEAP, 17, 81 / 20),
        (_everything, Reason.WHOLE_FRAME, 25, 0.95),
        (_weak, Reason.WEAK_SCORE, 14, 0.5),
        (_unstable, Reason.UNSTABLE, 3, 0.8),
        (_dips, Reason.IOU_DIPS, 20, 0.5),
        (_fragments, Reason.FRAGMENTS, 19, 4),
    ],
)
def test_a_fault_is_named_with_its_frame(spoil: Callable[[Rows], None], reason: Reason, row: int, value: float) -> None:
    rows = sound()
    spoil(rows)
    before, spoiled, after = doubts(table(sound(), rows, sound()))
    assert before.doubt == after.doubt == 0, "neighbours are not touched"
    ground = next(ground for ground in spoiled.grounds if ground.reason is reason)
    assert ground.frame_index == 2 * row
    assert ground.value == pytest.approx(value, rel=1e-6)
    assert str(2 * row) in ground.sentence
    assert 0 < ground.weight <= spoiled.doubt <= 1
    assert spoiled.frame_index == spoiled.grounds[0].frame_index


def test_an_object_that_no_longer_looks_like_its_prompt_is_doubtful_where_weights_say_so() -> None:
    """The usual ones do not: on drawn clips it adds nothing to what the others say."""
    rows = sound()
    _unlike(rows)
    assert doubts(table(rows))[0].doubt == 0
    weights = Blend(-2.0, {Reason.UNLIKE_PROMPT: Term(0.5, 1.0, 3.0)})
    (tracks,) = whole_tracks(table(rows, sound()).to_batches())
    found = signals(tracks, lambda _: SIZE_HW, weights)
    (ground,), (columns, of_sound) = found.of(0).grounds, columns_of(found)
    assert (ground.value, ground.frame_index) == (pytest.approx(0.3), 40)
    assert "a similarity of 0.30 or less, as on frame 40" in ground.sentence
    assert (columns["pointer_similarity_p10"], columns["pointer_frame"]) == (pytest.approx(0.3), 40)
    assert (of_sound["pointer_similarity_p10"], of_sound["doubt"]) == (pytest.approx(0.9), 0)
    lacking = table(rows).drop_columns(["pointer_similarity"])
    assert [one["pointer_frame"] for one in columns_of(next(_measured(lacking)))] == [None], "of an earlier program"


def _measured(rows: pa.Table) -> Iterator[Signals]:
    for tracks in whole_tracks(rows.to_batches()):
        yield signals(tracks, lambda _: SIZE_HW)


def test_every_reason_has_a_sentence() -> None:
    assert set(SENTENCES) == set(Reason)


def test_an_object_that_leaves_over_the_border_is_not_lost() -> None:
    rows = sound()
    rows["bbox_x"] = 180 - 5 * np.abs(19 - np.arange(NUM_FRAMES))
    hide(rows, slice(20, None))
    (doubt,) = doubts(table(rows))
    assert Reason.LOST not in {ground.reason for ground in doubt.grounds}


def test_an_object_that_comes_late_does_not_flicker() -> None:
    rows = sound()
    hide(rows, slice(0, 10))
    (doubt,) = doubts(table(rows))
    assert doubt.doubt == 0


def test_a_track_that_is_never_visible_is_neither_doubtful_nor_good() -> None:
    rows = sound()
    hide(rows, slice(None))
    ranking = Ranking(5)
    for tracks in whole_tracks(table(rows).to_batches()):
        ranking.add(signals(tracks, lambda video_id: SIZE_HW))
    assert ranking.worst() == ranking.best() == []


@pytest.mark.parametrize(("batch_size", "at_least"), [(1, 1), (7, 1), (7, 40), (30, 1), (31, 1), (1000, 1), (5, 9999)])
def test_the_size_of_batches_changes_nothing(batch_size: int, at_least: int) -> None:
    tracks = []
    for spoil in (_low, _stretch, _lost, _flickers, _jump, _leap):
        rows = sound()
        spoil(rows)
        tracks.append(rows)
    rows = pa.concat_tables([table(*tracks), table(sound(1), sound(3), video_id="w")])
    assert doubts(rows, batch_size, at_least) == doubts(rows)


def test_a_ranking_keeps_the_worst_and_the_best_of_a_stream() -> None:
    rng = np.random.default_rng(0)
    tracks: list[Rows] = []
    for quality in rng.permutation(np.linspace(0.3, 0.9, 40)):
        rows = sound(5)
        rows["predicted_iou"][:] = quality
        tracks.append(rows)
    all_rows = table(*tracks)
    whole = {doubt.object_id: doubt.doubt for doubt in doubts(all_rows)}
    ranking = Ranking(6)
    for part in whole_tracks(all_rows.combine_chunks().to_batches(11), at_least=1):
        ranking.add(signals(part, lambda video_id: SIZE_HW, BLEND))
    quality_of: dict[int, Any] = {number: rows["predicted_iou"][0] for number, rows in enumerate(tracks)}
    assert [whole[doubt.object_id] for doubt in ranking.worst()] == sorted(whole.values(), reverse=True)[:6]
    assert [doubt.object_id for doubt in ranking.best()] == sorted(quality_of, key=quality_of.__getitem__)[:-7:-1]
