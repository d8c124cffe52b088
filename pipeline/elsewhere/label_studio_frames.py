"""Label Studio's annotations of frames: masks that were painted by brush; and what regions of any kind share.

A region that nobody touched says so: its `origin` is `prediction`. Label Studio writes its mask anew all the same, and
may do so with other pixels at its border.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.elsewhere.returned import Author, Returned, ReturnedTrack, ReturnedVideo, SizeHW, State, Words, joined
from pipeline.errors import InputError
from pipeline.formats.brush_rle import decode_brush
from pipeline.formats.handing_out import COMMENT, VERDICT, VERDICTS
from pipeline.formats.shape_text import UNTOUCHED, mask_text
from pipeline.formats.writers.cvat_images import row_runs

_OBJECT = "object_"


@dataclass(frozen=True)
class AnnotatedFrame:
    """What one author says of a frame."""

    frame: int
    annotation: Mapping[str, Any]
    author: Author
    place: str

    @property
    def is_skipped(self) -> bool:
        """Whether the author passed it over."""
        return bool(self.annotation.get("was_cancelled"))


@dataclass(frozen=True)
class _Region:
    frame: int
    result: Mapping[str, Any]
    words: Words
    place: str


def returned_frames(handout: str, video: str, annotated: Sequence[AnnotatedFrame], size_hw: SizeHW) -> Returned:
    """All that an author says of frames of a video. Of several annotations of a frame the last one counts.

    Frames that were passed over are spoken of only where the author has annotated none.
    """
    newest = {one.frame: one for one in annotated if not one.is_skipped}
    objects: dict[str, list[_Region]] = defaultdict(list)
    for one in newest.values():
        results = one.annotation.get("result") or ()
        words = fields_of(results)
        for number, result in enumerate(results):
            if result.get("type") == "brushlabels":
                name = str(result["id"])
                place = f"{one.place}, region {name}"
                # Nothing ties regions of two frames that are new: each is an object by itself.
                key = name if object_of(name) is not None else f"{one.frame} {number}"
                objects[key].append(_Region(one.frame, result, words.get(name, Words()), place))
    state = State.SKIPPED if not newest else State.DONE
    tracks = tuple(_track(regions, size_hw) for regions in objects.values())
    place = annotated[0].place
    frames = frozenset(newest) or frozenset(one.frame for one in annotated)
    back = ReturnedVideo(video, tracks, place, frames, is_of_images=True, state=state)
    times = [one.author.at for one in annotated if one.author.at is not None]
    seconds = [one.author.seconds for one in annotated if one.author.seconds is not None]
    author = Author(annotated[0].author.name, max(times, default=None), sum(seconds) if seconds else None)
    return Returned(handout, (back,), author)


def _track(regions: Sequence[_Region], size_hw: SizeHW) -> ReturnedTrack:
    first = regions[0]
    for region in regions:
        check_verdict(region.words, region.place)
    verdicts = {region.words.verdict for region in regions} - {""}
    if len(verdicts) > 1:
        raise InputError(f"{first.place}: {' and '.join(sorted(verdicts))} are said of one object; say one of them")
    texts: dict[int, list[str | None]] = defaultdict(list)
    for region in regions:
        texts[region.frame].append(_text(region, size_hw))
    comments = dict.fromkeys(region.words.comment for region in regions)
    return ReturnedTrack(
        object_id=object_of(str(first.result["id"])),
        labels=tuple(dict.fromkeys(label for region in regions for label in region.result["value"]["brushlabels"])),
        shapes={frame: joined(found) for frame, found in texts.items()},
        place=first.place,
        words=Words(next(iter(verdicts), ""), "; ".join(filter(None, comments))),
    )


def _text(region: _Region, size_hw: SizeHW) -> str | None:
    result = region.result
    if result.get("origin") == "prediction" and object_of(str(result["id"])) is not None:
        return UNTOUCHED
    size = int(result["original_height"]), int(result["original_width"])
    if size != size_hw:
        raise InputError(
            f"{region.place}: its picture has {list(size)} pixels (height, width), and the video {list(size_hw)}: "
            "give Label Studio the frames at their own size"
        )
    try:
        pixels_HW = decode_brush(result["value"]["rle"], size)
    except ValueError as error:
        raise InputError(f"{region.place}: {error}; paint it anew and export again") from error
    height, width = size
    return mask_text(row_runs(pixels_HW), (0, 0, width, height)) if pixels_HW.any() else None


def fields_of(results: Iterable[Mapping[str, Any]]) -> dict[str, Words]:
    """What the fields of regions say, by id of the region."""
    verdicts: dict[str, str] = {}
    comments: dict[str, str] = {}
    for result in results:
        kind, name, value = result.get("type"), result.get("from_name"), result.get("value") or {}
        if kind == "choices" and name == VERDICT:
            verdicts[str(result["id"])] = str((value.get("choices") or [""])[0])
        elif kind == "textarea" and name == COMMENT:
            text = value.get("text") or ()
            comments[str(result["id"])] = (text if isinstance(text, str) else "; ".join(text)).strip()
    return {one: Words(verdicts.get(one, ""), comments.get(one, "")) for one in {**verdicts, **comments}}


def check_verdict(words: Words, place: str) -> None:
    """Raises `InputError` for a verdict that there is not."""
    if words.verdict and words.verdict not in VERDICTS:
        raise InputError(f"{place}: verdict {words.verdict!r}: there are {', '.join(VERDICTS[1:])}")


def object_of(region: str) -> int | None:
    """The object that a region went out as; None for one that was drawn in Label Studio."""
    number = region.removeprefix(_OBJECT)
    is_ours = region.startswith(_OBJECT) and number.removeprefix("-").isdecimal()
    return int(number) if is_ours else None
