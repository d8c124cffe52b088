"""Which videos and tracks of a job an export takes, as its keys say."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from difflib import get_close_matches
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.arrays import BoolArray
from pipeline.errors import ConfigError
from pipeline.formats.handing_out import ForReview, Key
from pipeline.formats.job_rows import JobRows
from pipeline.formats.left_out import LeftOut
from pipeline.formats.plan import NO_CATEGORY, Plan
from pipeline.formats.selection import Content, Selection
from pipeline.formats.table_spool import Spools
from pipeline.notebook.file_places import are_there
from pipeline.output.where import condition
from pipeline.redact import redact_uri
from pipeline.reviews.live import names_verdict
from pipeline.reviews.verdicts import Verdict
from pipeline.storage.uris import StorageOptions
from pipeline.tables import JobTables
from pipeline.text import BAD_VIDEOS, NO_VIDEOS_YET, counted, meant_several, one_line

_GONE = "videos whose file is gone"
_OF_BAD_VIDEOS = "tracks of videos with a track that failed, was rejected or that where= leaves out"
_NAMED = 20


def make_plan(
    job: JobTables,
    selection: Selection,
    content: Content | None = None,
    storage_options: StorageOptions | None = None,
    spools: Spools | None = None,
    review: ForReview | None = None,
) -> Plan:
    """What the selection means for the job as it stands now. The plan closes `spools`, where its rows wait.

    With `review`, tracks that are to be reviewed go out, with or without the others of their videos.
    Files of videos are looked for where `content` wants frames, with `storage_options`. Raises `ConfigError` for a
    video, a category, a column or a file that there is not, and where nothing is selected.
    """
    spools = spools or Spools()
    try:
        if selection.videos is not None:
            _check_videos(job, selection.videos)
        video_ids = _videos_of(job, selection, review)
        plan = Plan(selection.splits, LeftOut(), spools, _stride(job), storage_options)
        categories: set[str] = set()
        for videos, tracks in JobRows(job, video_ids, spools).chunks():
            if review is not None:
                tracks = _to_review(tracks, review, plan.left_out)
            videos, tracks = _selected(plan.left_out, videos, tracks, selection, categories)
            if review is not None and review.chosen is not None:
                videos, tracks = _with_chosen(videos, tracks, review.chosen, plan.left_out)
            if content is not None and content.frames != "none":
                there = are_there(videos["uri"].to_pylist(), content.videos_root, storage_options)
                videos = plan.left_out.keep(videos, pa.array(there, pa.bool_()), _GONE, _file_of)
                tracks = tracks.filter(pc.is_in(tracks["video_id"], pc.unique(videos["video_id"])))
            if videos.num_rows:
                plan.add(videos, tracks)
        if content is not None and content.missing == "fail":
            _check_files(plan.left_out, content)
        _check_categories(selection.categories or (), categories)
        if not plan.num_videos:
            chosen = review is not None and review.chosen is not None
            nothing = "queue= names no video that is finished in this job" if chosen else NO_VIDEOS_YET
            why = "; ".join(plan.left_out.lines()) or nothing
            raise ConfigError(f"nothing is left to export: {why}")
    except BaseException:
        spools.close()
        raise
    return plan


def _videos_of(job: JobTables, selection: Selection, review: ForReview | None) -> tuple[str, ...] | None:
    """The videos that can be selected; None are all."""
    of_review = None if review is None else review.video_ids()
    if of_review is None:
        return selection.videos
    wanted = set(of_review) if selection.videos is None else set(of_review) & set(selection.videos)
    return tuple(sorted(video_id for video_id in wanted if video_id in job.state.finished))


def _to_review(tracks: pa.Table, review: ForReview, left_out: LeftOut) -> pa.Table:
    keys = zip(tracks["video_id"].to_pylist(), tracks["object_id"].to_pylist(), strict=True)
    is_taken = pa.array([review.takes(*key) for key in keys], pa.bool_())
    return left_out.keep(tracks, pa.chunked_array([is_taken]), "tracks that queue= or top= does not choose")


def _with_chosen(
    videos: pa.Table, tracks: pa.Table, chosen: Collection[Key], left_out: LeftOut
) -> tuple[pa.Table, pa.Table]:
    """The videos that have a track to look at: what was chosen may be rejected or labeled anew by now."""
    keys = zip(tracks["video_id"].to_pylist(), tracks["object_id"].to_pylist(), strict=True)
    wanted = pa.array({key[0] for key in keys if key in chosen}, pa.string())
    videos = left_out.keep(videos, pc.is_in(videos["video_id"], wanted), "videos without a track to look at")
    return videos, tracks.filter(pc.is_in(tracks["video_id"], wanted))


def _file_of(row: Mapping[str, Any]) -> str:
    place = redact_uri(row["uri"]) if row["uri"] else "its bytes were in the table of videos"
    return f"video {row['video_id']!r}: {one_line(place, 200)}"


def _check_files(left_out: LeftOut, content: Content) -> None:
    if _GONE in left_out.reasons:
        num = counted(left_out.reasons[_GONE]["count"], "video")
        raise ConfigError(
            f"frames={content.frames}: the files of {num} are gone: {left_out.named(_GONE, _NAMED)}. Where they were "
            "moved, name their folder with videos_root=; missing=skip leaves them out, and frames=none reads no file"
        )


def _selected(
    left_out: LeftOut, videos: pa.Table, tracks: pa.Table, selection: Selection, categories: set[str]
) -> tuple[pa.Table, pa.Table]:
    """What is selected of some videos and their tracks. `categories` gets those that the tracks have."""
    for status, reason in BAD_VIDEOS.items():
        videos = left_out.keep(videos, pc.not_equal(videos["status"], status.value), reason)
    tracks = tracks.filter(pc.is_in(tracks["video_id"], pc.unique(videos["video_id"])))
    tracks = _selected_tracks(tracks, selection, left_out, categories)
    has_tracks = pc.is_in(videos["video_id"], pc.unique(tracks["video_id"]))
    return left_out.keep(videos, has_tracks, "videos without a selected track"), tracks


def _stride(job: JobTables) -> int | None:
    """Every how many frames the job labels; None where it labels by `frames.fps`, or has no record of itself."""
    try:
        fingerprint = job.job_config().get("fingerprint", {})
    except FileNotFoundError:
        return None
    stride = fingerprint.get("frames.stride")
    return stride if isinstance(stride, int) and fingerprint.get("frames.fps") is None else None


def _selected_tracks(tracks: pa.Table, selection: Selection, left_out: LeftOut, categories: set[str]) -> pa.Table:
    every = tracks
    tracks = left_out.keep(tracks, pc.equal(tracks["status"], "ok"), "tracks that failed")
    categories.update(category or NO_CATEGORY for category in pc.unique(tracks["category"]).to_pylist())
    tracks = left_out.keep(tracks, _are_wanted(tracks, selection), "tracks that a reviewer rejected")
    if selection.categories is not None:
        wanted = pa.array(
            [*selection.categories, *([None] if NO_CATEGORY in selection.categories else [])], pa.string()
        )
        tracks = left_out.keep(tracks, pc.is_in(tracks["category"], wanted), "tracks of other categories")
    if selection.where is not None:
        is_kept = _that_meet(selection.where, tracks)
        tracks = left_out.keep(tracks, pa.chunked_array([pa.array(is_kept)]), "tracks that where= leaves out")
    if selection.whole_videos:
        is_kept = pc.invert(pc.is_in(tracks["video_id"], _ids_of_bad_tracks(every, selection)))
        tracks = left_out.keep(
            tracks, is_kept, "tracks of videos with a track that failed, was rejected or that where= leaves out"
        )
    if not selection.keep_never_visible:
        tracks = left_out.keep(tracks, pc.greater(tracks["num_visible"], 0), "tracks that are never visible")
    return tracks


def _are_wanted(tracks: pa.Table, selection: Selection) -> pa.ChunkedArray:
    """Which tracks are not rejected, `[N]`; all are wanted where the condition itself says which verdicts."""
    if names_verdict(selection.where):
        return pa.chunked_array([pa.repeat(pa.scalar(True), tracks.num_rows)])
    return pc.fill_null(pc.not_equal(tracks["verdict"], Verdict.REJECT.value), True)


def _that_meet(where: str, tracks: pa.Table) -> BoolArray:
    """Which tracks a condition keeps, `[N]`."""
    numbered = tracks.append_column("_place", pa.array(np.arange(tracks.num_rows)))
    is_kept = np.zeros(tracks.num_rows, bool)
    is_kept[np.asarray(numbered.filter(condition(where, tracks.schema))["_place"], np.int64)] = True
    return is_kept


def _ids_of_bad_tracks(tracks: pa.Table, selection: Selection) -> pa.ChunkedArray:
    """The videos of tracks that failed or were rejected, and of those of any category that `where=` leaves out."""
    is_good = pc.and_(pc.equal(tracks["status"], "ok"), _are_wanted(tracks, selection)).to_numpy()
    if selection.where is not None:
        is_good = is_good & _that_meet(selection.where, tracks)
    return tracks["video_id"].filter(pa.array(~is_good))


def _check_categories(wanted: Collection[str], known: Collection[str]) -> None:
    for name in wanted:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            hint = meant_several(name, known) or (f"; did you mean {near[0]}?" if near else "")
            raise ConfigError(f"categories: no track is of {name!r}; there are {', '.join(sorted(known)[:20])}{hint}")


def _check_videos(job: JobTables, video_ids: tuple[str, ...]) -> None:
    for video_id in video_ids:
        if video_id not in job.state.finished:
            try:
                next(job.video_masks(video_id))
            except KeyError as error:
                raise ConfigError(f"videos: {error.args[0]}") from error
