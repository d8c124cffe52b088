"""Which labels become prompts, held against the rules written as plain loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.formats.choosing import NO_OBJECT, LabelColumns, choose, num_doubled, videos_with_several_frames
from pipeline.formats.object_numbers import ids_of_labels, ids_of_objects

LABEL = st.tuples(
    st.integers(0, 2),  # video
    st.integers(NO_OBJECT, 2),  # object of that video
    st.integers(0, 9),  # frame
    st.sampled_from([float("nan"), 0.25, 0.5]),
    st.sampled_from([4.0, 9.0]),
)


def columns(labels: list[tuple[int, int, int, float, float]]) -> LabelColumns:
    videos, keys, frames, scores, areas = (np.array(column) for column in zip(*labels, strict=True))
    objects = np.where(keys < 0, NO_OBJECT, videos * 3 + keys)
    return LabelColumns(videos, objects, frames.astype(float), scores, areas)


def plainly(labels: list[tuple[int, int, int, float, float]], frames: str) -> set[int]:
    chosen: set[int] = set()
    every = int(frames.partition(":")[2] or 1)

    def merit(number: int) -> tuple[float, float, int]:
        _, _, _, score, area = labels[number]
        return (0.0 if math.isnan(score) else score, area, -number)

    groups: dict[tuple[int, int], list[int]] = {}
    for number, (video, key, *_) in enumerate(labels):
        groups.setdefault((video, key), []).append(number)
    for (_, key), numbers in groups.items():
        by_frame: dict[int, list[int]] = {}
        for number in numbers:
            by_frame.setdefault(labels[number][2], []).append(number)
        if key == NO_OBJECT:
            has_scores = any(not math.isnan(score) for _, key, _, score, _ in labels if key == NO_OBJECT)
            worth = {
                frame: sum(merit(n)[0] for n in some) if has_scores else len(some) for frame, some in by_frame.items()
            }
            frame = min(by_frame, key=lambda f: (-worth[f], f)) if frames == "best" else min(by_frame)
            chosen.update(by_frame[frame])
        elif frames == "best":
            chosen.add(max(numbers, key=lambda n: (merit(n)[0], merit(n)[1], -labels[n][2], -n)))
        else:
            first = min(by_frame)
            seen = set()
            for frame in sorted(by_frame):
                part = (frame - first) // every if frames != "first" else 0
                if part not in seen:
                    seen.add(part)
                    chosen.add(max(by_frame[frame], key=merit))
    return chosen


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(labels=st.lists(LABEL, min_size=1, max_size=20), frames=st.sampled_from(["first", "best", "all", "every:3"]))
def test_the_chosen_labels_are_those_that_the_rules_name(
    labels: list[tuple[int, int, int, float, float]], frames: str
) -> None:
    found = choose(columns(labels), frames)
    assert len(found) == len(set(found.tolist()))
    assert set(found.tolist()) == plainly(labels, frames)


def test_videos_whose_boxes_have_no_objects_are_told_if_they_have_several_frames() -> None:
    one, two = (0, NO_OBJECT, 3, 0.5, 4.0), (1, NO_OBJECT, 3, 0.5, 4.0)
    assert videos_with_several_frames(columns([one, one, two])).tolist() == []
    assert videos_with_several_frames(columns([one, two, (1, NO_OBJECT, 4, 0.5, 4.0)])).tolist() == [1]


@pytest.mark.slow
@settings(max_examples=20, deadline=None)
@given(labels=st.lists(LABEL, min_size=1, max_size=20))
def test_labels_of_one_object_and_frame_are_counted_beyond_the_first(
    labels: list[tuple[int, int, int, float, float]],
) -> None:
    keyed = [label[:3] for label in labels if label[1] != NO_OBJECT]
    assert num_doubled(columns(labels)) == len(keyed) - len(set(keyed))


def test_whole_numbers_stay_ids_and_texts_are_numbered_in_their_natural_order() -> None:
    keys: list[tuple[int, int | str]] = [(0, 7), (1, "cup 10"), (0, 0), (1, "cup 2"), (2, -1), (2, 5), (1, "cup 1")]
    assert ids_of_objects(keys).tolist() == [7, 3, 0, 2, -1, 5, 1]
    mixed: list[tuple[int, int | str]] = [(0, "b 10"), (0, 7), (0, -2), (0, "b 9"), (1, -3), (1, "c"), (1, 1 << 70)]
    assert ids_of_objects(mixed).tolist() == [9, 7, -2, 8, -3, 2, 1]
    large = (1 << 63) - 1
    assert ids_of_objects([(0, large), (0, "a"), (0, 1), (0, "b")]).tolist() == [large, 2, 1, 3]
    loose = [
        (0, 1, 0, 0.5, 1.0),
        (0, NO_OBJECT, 0, 0.5, 1.0),
        (0, NO_OBJECT, 0, 0.25, 1.0),
        (1, NO_OBJECT, 0, 0.5, 1.0),
    ]
    found = ids_of_labels(columns(loose), np.array([3, 0, 1, 2]), np.array([0, 4]))
    assert found.tolist() == [1, 4, 5, 6]


@pytest.mark.parametrize("frames", ["every:0", "every:x", "last", "every"])
def test_a_word_that_chooses_nothing_is_refused(frames: str) -> None:
    with pytest.raises(ValueError, match="allowed are first, best, all and every:N"):
        choose(columns([(0, 0, 0, 0.5, 1.0)]), frames)
