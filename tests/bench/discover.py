"""`python -m tests.bench.discover`: whether objects that nobody prompted are found, on drawn clips with true masks.

Ours against a grid on the first frame alone and a grid on every key frame whose masks are matched by IoU, in one run
with the same model, grid and thresholds, and beside them what mini makes of objects that it is told. Rules are tuned on
clips with even numbers below 40 (`--seeds 0 40`), and others are reported. Writes discover.json, in which a set that
is run again replaces what is there of it.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from model import load_model
from tests.bench.discover_clips import DrawnClip, clips
from tests.bench.discover_methods import (
    Search,
    first_frame_alone,
    grid_on_each_key_frame,
    in_shots,
    key_frames,
    ours,
    told,
)
from tests.bench.discover_scores import ClipScore, FoundTrack, score_clip

_log = logging.getLogger(__name__)

Finder = Callable[[Search, DrawnClip], list[FoundTrack]]

WAYS: Mapping[str, tuple[Finder, bool]] = {
    "ours": (partial(in_shots, ours), False),
    "first frame alone": (lambda search, drawn: first_frame_alone(search, drawn.clip), False),
    "grid on each key frame": (lambda search, drawn: grid_on_each_key_frame(search, drawn.clip), True),
    "told": (partial(in_shots, told), False),
}
"""Each way, and whether it has masks on key frames alone, so that others are not held against it."""


def run(search: Search, drawn: Sequence[DrawnClip], names: Sequence[str] = tuple(WAYS)) -> dict[str, Any]:
    """The figures of each way on these clips."""
    scores: dict[str, list[ClipScore]] = {name: [] for name in names}
    seconds = dict.fromkeys(names, 0.0)
    for one in drawn:
        for name in names:
            way, only_keys = WAYS[name]
            started = time.process_time()
            tracks = way(search, one)
            seconds[name] += time.process_time() - started
            frames = key_frames(search, one.clip) if only_keys else None
            scores[name].append(score_clip(one.clip.masks_TBHW, tracks, frames))
        _log.info("%s: %s", one.clip.name, {name: summary(scores[name])["found"] for name in names})
    return {name: _figures(scores[name], drawn) | {"cpu_seconds": round(seconds[name], 1)} for name in names}


def _figures(scores: Sequence[ClipScore], drawn: Sequence[DrawnClip]) -> dict[str, Any]:
    by_kind = {
        kind: _share([score for score, one in zip(scores, drawn, strict=True) if one.kind == kind], late=False)
        for kind in sorted({one.kind for one in drawn})
    }
    return summary(scores) | {"found_by_kind": by_kind}


def summary(scores: Sequence[ClipScore]) -> dict[str, Any]:
    """Shares of objects, of late ones, and of tracks."""
    num_tracks = sum(score.num_tracks for score in scores)
    waits = [one.frames_until_found for score in scores for one in score.objects if one.is_found]
    late = [one.frames_until_found for score in scores for one in score.objects if one.is_found and one.is_late]
    return {
        "num_clips": len(scores),
        "num_objects": sum(len(score.objects) for score in scores),
        "num_late": sum(one.is_late for score in scores for one in score.objects),
        "num_tracks": num_tracks,
        "found": _share(scores, late=False),
        "found_late": _share(scores, late=True),
        "duplicates": sum(score.num_duplicates for score in scores) / max(num_tracks, 1),
        "fragments": sum(score.num_fragments for score in scores) / max(num_tracks, 1),
        "false": sum(score.num_false for score in scores) / max(num_tracks, 1),
        "frames_until_found": _mean(waits),
        "frames_until_found_late": _mean(late),
    }


def _share(scores: Sequence[ClipScore], *, late: bool) -> float | None:
    objects = [one for score in scores for one in score.objects if one.is_late or not late]
    return sum(one.is_found for one in objects) / len(objects) if objects else None


def _mean(frames: Sequence[int | None]) -> float | None:
    known = [one for one in frames if one is not None]
    return statistics.mean(known) if known else None


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.discover", description=__doc__)
    parser.add_argument("--seeds", type=int, nargs=2, default=(31, 60), help="every other clip of this range")
    parser.add_argument("--sets", nargs="+", default=["plain", "hard"])
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=list(WAYS))
    parser.add_argument("--output", type=Path, default=Path("outputs/bench-discover"))
    options = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    search = Search(load_model("mini"))
    options.output.mkdir(parents=True, exist_ok=True)
    path = options.output / "discover.json"
    found = json.loads(path.read_text()) if path.exists() else {}
    for name in options.sets:
        found[name] = run(search, list(clips(range(*options.seeds, 2), name)), options.ways)
        _print(name, found[name])
        path.write_text(json.dumps(found, indent=1) + "\n")


def _print(name: str, found: Mapping[str, Any]) -> None:
    first = next(iter(found.values()))
    print(f"{name}: {first['num_clips']} clips, {first['num_objects']} objects, {first['num_late']} of them late")
    columns = ("found", "found_late", "duplicates", "fragments", "false", "frames_until_found_late", "num_tracks")
    print(f"{'':36}" + "".join(f"{column:>12.12}" for column in columns))
    for way, one in found.items():
        print(f"{way:36}" + "".join(f"{_number(one[column]):>12}" for column in columns))
    for way, one in found.items():
        print(way, {kind: _number(share) for kind, share in one["found_by_kind"].items()})


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
