"""Ways to find the objects of a drawn clip: ours, a grid on the first frame alone, and a grid on every key frame.

Beside them an upper bound: what mini makes of each object when it is told its true mask on the frame that shows most.
Each way gets one shot, and tells of frames by their index in it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise

import numpy as np

from model import (
    ArrayFrames,
    Everything,
    FoundMask,
    Grids,
    Kept,
    MaskPrompt,
    Sam2,
    VideoSession,
    advance,
    propose_on,
    segment_everything,
)
from pipeline.arrays import BoolArray
from pipeline.demo.clips import Clip
from pipeline.seeds.discovery import Discovered, Discovery, DiscoveryRules
from pipeline.seeds.walk import discover_steps
from tests.bench.discover_clips import DrawnClip
from tests.bench.discover_scores import FoundTrack

LOOKS_FOR = Everything(Grids((8,)), Kept(0.5, 0.4, min_area=60, max_area_share=0.9, min_region_area=60))
"""What mini believes in, on frames of 120 × 160 pixels."""

KEY_INTERVAL = 4


@dataclass(frozen=True)
class Search:
    """The network and the options that all ways of one run share."""

    network: Sam2
    rules: DiscoveryRules = field(default_factory=DiscoveryRules)
    looks_for: Everything = LOOKS_FOR
    key_interval: int = KEY_INTERVAL


Way = Callable[[Search, Clip], list[FoundTrack]]


def in_shots(way: Way, search: Search, drawn: DrawnClip) -> list[FoundTrack]:
    """Each shot by itself, as a job does it that knows where shots begin."""
    tracks = []
    for start, end in pairwise((0, *drawn.cuts, len(drawn.clip.frames_THW3))):
        frames_THW3, masks_TBHW = drawn.clip.frames_THW3[start:end], drawn.clip.masks_TBHW[start:end]
        for track in way(search, replace(drawn.clip, frames_THW3=frames_THW3, masks_TBHW=masks_TBHW)):
            whole_THW = np.zeros(drawn.clip.masks_TBHW[:, 0].shape, np.bool_)
            whole_THW[start:end] = track.masks_THW
            tracks.append(FoundTrack(whole_THW, start + track.found_frame))
    return tracks


def ours(search: Search, clip: Clip) -> list[FoundTrack]:
    """Discovery on key frames, and a walk in both directions with what it has found: what the job does."""
    found = discovered(search, clip)
    return _followed(search.network, clip, {one.object_id: (one.frame_index, one.mask.mask()) for one in found.objects})


def first_frame_alone(search: Search, clip: Clip) -> list[FoundTrack]:
    """The same with one key frame, as the automatic masklets of SA-V were made."""
    discovery = Discovery(search.rules)
    discovery.look(0, segment_everything(search.network, clip.frames_THW3[0], search.looks_for), {})
    found = discovery.end()
    return _followed(search.network, clip, {one.object_id: (0, one.mask.mask()) for one in found.objects})


def discovered(search: Search, clip: Clip) -> Discovered:
    """What the walk of the discovery finds."""
    session = VideoSession(search.network, ArrayFrames(clip.frames_THW3), num_cached_frames=1)
    find = partial(propose_on, options=search.looks_for)
    steps = discover_steps(session, lambda index: index % search.key_interval == 0, search.rules, find)
    result = None
    while True:
        try:
            step = next(steps) if result is None else steps.send(result)
        except StopIteration as end:
            found: Discovered = end.value
            return found
        (result,) = advance([step])


def grid_on_each_key_frame(search: Search, clip: Clip) -> list[FoundTrack]:
    """No propagation: masks of a key frame go to the last masks of tracks by IoU above 0.5, the largest first."""
    tracks: list[dict[int, FoundMask]] = []
    for frame_index in key_frames(search, clip):
        found = segment_everything(search.network, clip.frames_THW3[frame_index], search.looks_for)
        last = [track[max(track)] for track in tracks]
        pairs = sorted(
            ((_iou(mask, former), new, old) for new, mask in enumerate(found) for old, former in enumerate(last)),
            key=lambda pair: (-pair[0], pair[1], pair[2]),
        )
        taken: dict[int, int] = {}
        for iou, new, old in pairs:
            if iou > 0.5 and new not in taken and old not in taken.values():
                taken[new] = old
        for new, mask in enumerate(found):
            if new in taken:
                tracks[taken[new]][frame_index] = mask
            else:
                tracks.append({frame_index: mask})
    return [_of_key_frames(track, clip) for track in tracks]


def told(search: Search, clip: Clip) -> list[FoundTrack]:
    """Every object by its true mask on the frame that shows most of it, followed in both directions."""
    seeds = {}
    for object_id in clip.object_ids:
        best = int(clip.masks_TBHW[:, object_id - 1].sum(axis=(1, 2)).argmax())
        if clip.mask(object_id, best).any():
            seeds[object_id] = best, clip.mask(object_id, best)
    return _followed(search.network, clip, seeds)


def key_frames(search: Search, clip: Clip) -> Sequence[int]:
    """The frames on which the grid is laid."""
    return range(0, len(clip.frames_THW3), search.key_interval)


def _followed(network: Sam2, clip: Clip, seeds: Mapping[int, tuple[int, BoolArray]]) -> list[FoundTrack]:
    """Objects, each by its mask on one frame, followed in both directions."""
    session = VideoSession(network, ArrayFrames(clip.frames_THW3))
    masks = {object_id: np.zeros(clip.masks_TBHW[:, 0].shape, np.bool_) for object_id in seeds}
    for object_id, (frame_index, mask_HW) in seeds.items():
        session.add_prompt(object_id, frame_index, MaskPrompt(mask_HW))
    for result in session.propagate("both") if seeds else ():
        for object_id, mask_HW in zip(result.object_ids, result.masks().cpu().numpy(), strict=True):
            masks[object_id][result.frame_index] = mask_HW
    return [FoundTrack(masks[object_id], seeds[object_id][0]) for object_id in seeds]


def _of_key_frames(track: Mapping[int, FoundMask], clip: Clip) -> FoundTrack:
    masks = np.zeros(clip.masks_TBHW[:, 0].shape, np.bool_)
    for frame_index, mask in track.items():
        masks[frame_index] = mask.mask()
    return FoundTrack(masks, min(track))


def _iou(one: FoundMask, other: FoundMask) -> float:
    common = one.common(other)
    return common / (one.area + other.area - common)
