"""A video whose objects are found before they are labeled: two walks, and between them the found objects as prompts."""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from model import Everything, Frame, FrameSource, Grids, Kept, VideoSession, propose_on
from pipeline.config.discover_config import DiscoverConfig
from pipeline.inputs.detections import VideoDetections
from pipeline.inputs.prompts import VideoPrompts
from pipeline.inputs.reviewed_prompts import with_corrections
from pipeline.records import FramePosition
from pipeline.reviews.corrections import Correction
from pipeline.seeds.detected import Boxes
from pipeline.seeds.discovery import Discovered, DiscoveryRules
from pipeline.seeds.shots import LabeledFrames, Shots
from pipeline.seeds.walk import Find, IsKey, ShotOf, at_times, discover_steps
from pipeline.text import counted
from pipeline.worker.found_objects import Positions, prompts_of, seed_rows
from pipeline.worker.key_pictures import KeyPictures
from pipeline.worker.labeler import LabelOptions, Labels, MakeSession, Saving, Steps
from pipeline.worker.placed_boxes import PlacedBoxes

_log = logging.getLogger(__name__)

_LabelSteps = Callable[[MakeSession, str, VideoPrompts, LabeledFrames, LabelOptions, Saving | None], Steps[Labels]]

# Nearly the whole frame is no object: what was lost becomes such a mask.
_MAX_AREA_SHARE = 0.9

RULES = "objects found by rules 4"
"""Part of what a saved session must fit: one whose objects were found by other rules begins again."""

_NOTHING = (
    "no object was found: nothing on the key frames is believed enough (discover.min_predicted_iou, "
    "discover.min_stability) and found again on a later one (discover.sure_score)"
)

_NO_BOXES = (
    "no object was found: no detection is believed enough (discover.min_score) and found again on a later frame "
    "(discover.sure_detection), or the network sees nothing in its box"
)


def discovering(
    label_steps: _LabelSteps,
    new_session: Callable[[FrameSource], VideoSession],
    config: DiscoverConfig,
    pictures: KeyPictures | None = None,
    corrections: Mapping[int, Sequence[Correction]] | None = None,
    detections: VideoDetections | None = None,
) -> _LabelSteps:
    """`label_steps` for videos without prompts: their objects are found first, by a walk of their own.

    They are looked for in the boxes of `detections`, or without these with a grid of clicks. A video in which nothing
    is found has no tracks, and a message that says so. What is found follows from the video, the boxes and the config
    alone. So a video that is begun again, or goes on where it was saved, has the same objects, and `corrections` are of
    those that reviewers saw. Grids on crops take whole key frames from `pictures`, of which `key_frames` of the config
    and the frames are the key frames.
    """

    def steps(
        make_session: MakeSession,
        video_id: str,
        prompts: VideoPrompts,
        frames: LabeledFrames,
        options: LabelOptions,
        saving: Saving | None,
    ) -> Steps[Labels]:
        boxes = None
        if detections is None:
            search = _by_grid(config, frames, options.shots, pictures)
        else:
            shots = options.shots
            boxes = PlacedBoxes(detections, config.min_score, frames.size_hw, shots.frame_seconds, shots.gaps_of)
            search = _by_boxes(config, frames, boxes)
        with contextlib.nullcontext() if pictures is None else pictures.taken():
            found = yield from discover_steps(
                new_session(frames),
                search.is_key,
                search.rules,
                search.find,
                _shot_of(frames, options.shots),
                search.is_over,
            )
        _tell(video_id, found)
        if config.then == "prompts":
            labels = seed_rows(video_id, found, search.source, frames, options.folder)
        else:
            positions = {frames.position(one.frame_index): one.frame_index for one in found.objects}
            of_objects = with_corrections(prompts_of(found, search.source, frames), corrections or {})
            labels = yield from label_steps(
                make_session, video_id, of_objects, _Found(frames, positions), options, saving
            )
        said = (_remark(found, search.nothing), "" if boxes is None else _remark_of_boxes(found, boxes))
        return replace(labels, remark="; ".join(filter(None, said)), unexplained=found.unexplained)

    return steps


@dataclass(frozen=True)
class _Search:
    """Where objects are looked for, and by which rules. `nothing` says what a video is told that has none."""

    source: str
    is_key: IsKey
    is_over: IsKey
    find: Find
    rules: DiscoveryRules
    nothing: str


def _by_grid(config: DiscoverConfig, frames: LabeledFrames, shots: Shots, pictures: KeyPictures | None) -> _Search:
    is_key = key_frames(config, frames, shots)
    is_over = _is_over(config, frames)
    if config.mode == "sa_v" and not shots:
        is_over = _is_later
    rules = DiscoveryRules(sure_score=config.sure_score, max_objects=config.max_objects)
    return _Search("grid", is_key, is_over, _find(config, pictures), rules, _NOTHING)


def _by_boxes(config: DiscoverConfig, frames: LabeledFrames, placed: PlacedBoxes) -> _Search:
    boxes = Boxes(lambda index: placed.at(index, frames.position(index)))
    sure_score = config.sure_detection if placed.are_dense else 0.0
    # A detector may miss an object on most frames, and what it has found is there all the same.
    rules = DiscoveryRules(sure_score=sure_score, max_objects=config.max_objects, min_again=0.0)
    return _Search("detections", boxes.is_key, _is_over(config, frames), boxes.find, rules, _NO_BOXES)


def key_frames(config: DiscoverConfig, frames: Positions, shots: Shots) -> IsKey:
    """The frames of a video on which objects are looked for."""
    every_seconds = math.inf if config.mode == "sa_v" else config.every_seconds
    return at_times(lambda index: frames.position(index).pts_seconds, every_seconds, _shot_of(frames, shots))


def _shot_of(frames: Positions, shots: Shots) -> ShotOf:
    return lambda index: shots.shot_of(frames.position(index))


def _is_later(index: int) -> bool:
    return index > 0


def _is_over(config: DiscoverConfig, frames: Positions) -> IsKey:
    """Whether no frame from this one on is looked at, because `discover.max_seconds` are over."""
    limit = math.inf if config.max_seconds is None else config.max_seconds

    def is_over(index: int) -> bool:
        first, now = frames.position(0).pts_seconds, frames.position(index).pts_seconds
        return first is not None and now is not None and now - first > limit

    return is_over


def _find(config: DiscoverConfig, pictures: KeyPictures | None) -> Find:
    options = _looks_for(config)
    if pictures is None:
        return partial(propose_on, options=options)
    return lambda session, frame: propose_on(session, frame, options, pictures.take(frame))


def _looks_for(config: DiscoverConfig) -> Everything:
    kept = Kept(
        config.min_predicted_iou,
        config.min_stability,
        min_area=config.min_area,
        max_area_share=_MAX_AREA_SHARE,
        min_region_area=config.min_area,
    )
    return Everything(Grids(config.grids), kept)


def _remark(found: Discovered, nothing: str) -> str:
    """What the row of the video says of what was found; empty where all was found and labeled."""
    if not found.objects:
        return nothing
    if found.num_left_out:
        return (
            f"{counted(len(found.objects), 'object')} found, and {counted(found.num_left_out, 'further mask')} on key "
            "frames left out, because discover.max_objects allows no more"
        )
    return ""


def _remark_of_boxes(found: Discovered, boxes: PlacedBoxes) -> str:
    """What became of boxes that are neither objects nor on a track of theirs."""
    between = ""
    if found.num_ambiguous:
        between = (
            f"{counted(found.num_ambiguous, 'detection')} counted as no new object, because tracks of the category "
            "cover half of the mask or overlap it by 0.3"
        )
    lost = ""
    if found.num_unconfirmed:
        lost = f"{counted(found.num_unconfirmed, 'object')} not found again on later frames (discover.sure_detection)"
    return "; ".join(filter(None, (lost, between, boxes.remark())))


def _tell(video_id: str, found: Discovered) -> None:
    merged = "".join(f", object {one.object_id} is {one.duplicate_of}" for one in found.duplicates)
    _log.info(
        "video %r: %s found, %d left out, %d not found again, %.1f %% of the frame unexplained%s",
        video_id,
        counted(len(found.objects), "object"),
        found.num_left_out,
        found.num_unconfirmed,
        100 * found.unexplained,
        merged,
    )


class _Found:
    """The frames of a video, in which the frames of found objects are those that have prompts."""

    def __init__(self, frames: LabeledFrames, positions: Mapping[FramePosition, int]) -> None:
        self._frames = frames
        self._positions = positions

    @property
    def size_hw(self) -> tuple[int, int]:
        return self._frames.size_hw

    @property
    def num_frames(self) -> int | None:
        return self._frames.num_frames

    def length_up_to(self, limit: int) -> int:
        return self._frames.length_up_to(limit)

    def forward(self, start: int) -> Iterator[Frame]:
        return self._frames.forward(start)

    def backward(self, end: int) -> Iterator[Frame]:
        return self._frames.backward(end)

    def at(self, indexes: Sequence[int]) -> Iterator[Frame]:
        return self._frames.at(indexes)

    def locate(self, position: FramePosition) -> int | None:
        if position in self._positions:
            return self._positions[position]
        return self._frames.locate(position)  # one that a reviewer corrected

    def absence(self, position: FramePosition) -> str:
        return self._frames.absence(position)

    def position(self, index: int) -> FramePosition:
        return self._frames.position(index)
