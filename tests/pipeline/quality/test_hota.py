"""HOTA of masks is what trackeval computes from pictures that it reads by itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.quality.alignment import align_frames
from pipeline.quality.hota import Hota
from pipeline.quality.masks import VideoMasks
from pipeline.quality.sources import OutputMasks
from tests.support.masks import Drawn, write_output

SIZE_HW = (40, 60)


def lanes(seed: int, num_objects: int = 4, num_frames: int = 7) -> dict[int, np.ndarray]:
    """Squares in lanes of their own; some come late, some go, and two swap their lanes in the middle."""
    generator = np.random.default_rng(seed)
    masks = {number + 1: np.zeros((num_frames, *SIZE_HW), bool) for number in range(num_objects)}
    for frame in range(num_frames):
        for number in range(num_objects):
            lane = number if number > 1 or frame < 4 else 1 - number
            left = 5 + 3 * frame + int(generator.integers(0, 4))
            if generator.random() < 0.8:
                masks[number + 1][frame, 10 * lane : 10 * lane + 8, left : left + 14] = True
    return masks


def videos_of(tmp_path: Path, name: str, videos: Drawn) -> dict[str, VideoMasks]:
    source = OutputMasks("output", write_output(tmp_path / name, videos))
    return source.read(source.video_ids())


def by_trackeval(folder: Path, videos: dict[str, tuple[Drawn, Drawn]]) -> dict[str, float]:
    """Judged from trees of pictures, as TrackEval has DAVIS: unsupervised, all videos combined."""
    from trackeval.datasets import DAVIS
    from trackeval.metrics.hota import HOTA

    for video_id, sides in videos.items():
        for side, masks in zip(("gt", "trackers/ours/data"), sides, strict=True):
            target = folder / side / video_id
            target.mkdir(parents=True)
            for frame in range(7):
                labels = np.zeros(SIZE_HW, np.uint8)
                for object_id, masks_THW in masks.items():
                    labels[masks_THW[frame]] = object_id
                Image.fromarray(labels).save(target / f"{frame:05}.png")
    config = {
        "GT_FOLDER": str(folder / "gt"),
        "TRACKERS_FOLDER": str(folder / "trackers"),
        "OUTPUT_FOLDER": str(folder / "results"),
        "SEQMAP_FILE": None,
        "PRINT_CONFIG": False,
        "SPLIT_TO_EVAL": "val",
        "MAX_DETECTIONS": 0,
    }
    (folder / "seqmap.txt").write_text("\n".join(videos))
    dataset = DAVIS(config | {"SEQMAP_FILE": str(folder / "seqmap.txt")})
    metric = HOTA()
    found = {}
    for video_id in videos:
        raw = dataset.get_raw_seq_data("ours", video_id)
        found[video_id] = metric.eval_sequence(dataset.get_preprocessed_seq_data(raw, "general"))
    combined = metric.combine_sequences(found)
    return {name: float(np.mean(combined[name])) for name in ("HOTA", "DetA", "AssA", "LocA")}


@pytest.mark.slow
def test_hota_of_several_videos_is_that_of_trackeval_on_pictures(tmp_path: Path) -> None:
    truth = {"one": lanes(1), "two": lanes(2), "three": {1: lanes(3)[1]}}
    found = {"one": lanes(4), "two": {7: lanes(2)[1], 2: lanes(5)[2]}, "three": {1: lanes(3)[1] & False}}
    true, predicted = videos_of(tmp_path, "true", truth), videos_of(tmp_path, "found", found)
    hota = Hota()
    for video_id in truth:
        hota.add(
            predicted[video_id], true[video_id], align_frames(predicted[video_id], true[video_id], "index", "truth")
        )
    expected = by_trackeval(tmp_path / "trees", {name: (truth[name], found[name]) for name in truth})
    result = hota.result()
    assert result is not None
    assert [result[key] for key in ("hota", "det_a", "ass_a", "loc_a")] == pytest.approx(
        [expected[key] for key in ("HOTA", "DetA", "AssA", "LocA")], abs=1e-9
    )
    assert 0.2 < expected["HOTA"] < 0.8
