"""Objects whose attributes were lost: a task without the labels of `labels.json` drops them, and shapes are left.

An object that has shapes that are exactly those of a track that went out is that track, whatever was changed of its
other shapes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from pipeline.elsewhere.returned import Returned, ReturnedTrack, ReturnedVideo
from pipeline.reviews.handouts import Handout
from pipeline.reviews.verdicts import Key

_Shapes = dict[tuple[str, int, str], Key]
"""Tracks by video as the document names it, frame and shape."""


def recognized(returned: Returned, handouts: Iterable[Handout]) -> Returned | None:
    """The document with the ids of the handout that most of its objects are of; None if none is of any."""
    most, found = 0, None
    for handout in handouts:
        known = _shapes(handout)
        votes = [[_votes(track, video, known) for track in video.tracks] for video in returned.videos]
        num = sum(bool(one) for of_video in votes for one in of_video)
        if num > most:
            videos = (_with_ids(video, of_video) for video, of_video in zip(returned.videos, votes, strict=True))
            most, found = num, Returned(handout.id, tuple(videos), returned.author)
    return found


def _shapes(handout: Handout) -> _Shapes:
    known: _Shapes = {}
    for video in handout.videos.values():
        tools = {frame: tool for tool, frame in video.frames.items()}
        for object_id, track in video.tracks.items():
            for frame, shape in track.shapes.items():
                if shape.shape is not None:
                    for name in ("", video.name):
                        known[name, tools[frame], shape.shape] = video.video_id, object_id
    return known


def _votes(track: ReturnedTrack, video: ReturnedVideo, known: _Shapes) -> Counter[Key]:
    keys = ((video.video, frame, text) for frame, text in track.shapes.items() if text is not None)
    return Counter(known[key] for key in keys if key in known)


def _with_ids(video: ReturnedVideo, votes: list[Counter[Key]]) -> ReturnedVideo:
    """The tracks with their ids; the video is the one of most of them."""
    firsts = [one.most_common(1)[0][0] if one else None for one in votes]
    videos = Counter(key[0] for key in firsts if key is not None)
    if not videos:
        return video
    video_id = videos.most_common(1)[0][0]
    tracks = (
        track if key is None or key[0] != video_id else replace(track, object_id=key[1])
        for track, key in zip(video.tracks, firsts, strict=True)
    )
    return replace(video, video=video_id, tracks=tuple(tracks))
