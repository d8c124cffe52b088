"""The contract of the output: the Arrow schemas of the three tables.

A row of `masks` is one video, object and frame; of `tracks` one video and object; of `videos` one finished video.
Frame indexes count the decoded frames in presentation order from the first frame of the labeled range.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

SCHEMA_VERSION = 1
"""A table that changes its meaning gets a new version. Footers of segments, log entries and roll-ups hold it."""


SORT_KEYS: dict[str, tuple[str, ...]] = {
    "masks": ("video_id", "object_id", "frame_index"),
    "tracks": ("video_id", "object_id"),
    "videos": ("video_id",),
}
"""Rows of a segment are sorted by these columns, which are also the key: no two rows of a table share them."""

RLE = pa.struct([pa.field("size", pa.list_(pa.int32())), pa.field("counts", pa.string())])
"""COCO compressed run lengths: `size` is [height, width]; `pycocotools.mask.decode` takes the value as it is."""

MERGED = pa.struct(
    [pa.field("object_id", pa.int64()), pa.field("frame_index", pa.int32()), pa.field("score", pa.float32())]
)
"""An object that was found on its own and turned out to be another one: where it was found, and its score there."""

MASKS = pa.schema(
    [
        pa.field("video_id", pa.string(), nullable=False),
        pa.field("object_id", pa.int64(), nullable=False),
        pa.field("frame_index", pa.int32(), nullable=False),
        pa.field("pts_seconds", pa.float64()),  # time in the file; null where the container has none
        pa.field("rle", RLE, nullable=False),
        pa.field("area", pa.int32(), nullable=False),  # pixels; 0 = hidden
        pa.field("bbox_x", pa.int32(), nullable=False),  # COCO xywh in pixels, flat so that statistics prune
        pa.field("bbox_y", pa.int32(), nullable=False),
        pa.field("bbox_w", pa.int32(), nullable=False),
        pa.field("bbox_h", pa.int32(), nullable=False),
        pa.field("object_score", pa.float32(), nullable=False),  # logit; above 0 = visible
        pa.field("predicted_iou", pa.float32(), nullable=False),
        pa.field("is_prompt", pa.bool_(), nullable=False),
        pa.field("category", pa.string()),  # of the object, as in `tracks`
        pa.field("stability", pa.float32()),  # IoU of the mask at logit 1 and at logit -1; null: neither has a pixel
        pa.field("num_parts", pa.int32()),  # connected parts of the mask
        # Cosine of the object pointer to that of the prompt from which it was followed; null: prompted here, or hidden.
        pa.field("pointer_similarity", pa.float32()),
    ]
)

TRACKS = pa.schema(
    [
        pa.field("video_id", pa.string(), nullable=False),
        pa.field("object_id", pa.int64(), nullable=False),
        pa.field("status", pa.string(), nullable=False),  # `ok` or `failed`
        pa.field("message", pa.string(), nullable=False),  # why it failed; warnings of an `ok` track
        pa.field("category", pa.string()),
        pa.field("num_prompts", pa.int32(), nullable=False),
        pa.field("prompt_frames", pa.list_(pa.int32()), nullable=False),  # frame indexes with a prompt, ascending
        pa.field("num_masks", pa.int32(), nullable=False),  # rows of this track in `masks`
        pa.field("num_visible", pa.int32(), nullable=False),  # those with area above 0
        pa.field("first_visible_frame", pa.int32()),  # null: never visible
        pa.field("last_visible_frame", pa.int32()),
        pa.field("visible_share", pa.float32(), nullable=False),
        pa.field("area_min", pa.int32()),  # pixels, over the visible rows
        pa.field("area_mean", pa.float32()),
        pa.field("area_max", pa.int32()),
        pa.field("object_score_min", pa.float32()),  # logits, over all rows
        pa.field("object_score_mean", pa.float32()),
        pa.field("predicted_iou_min", pa.float32()),  # over the visible rows
        pa.field("predicted_iou_mean", pa.float32()),
        pa.field("kept", pa.string()),  # JSON: columns of the prompts that `keep_columns` named
        # What speaks against a track. Null in tracks that never show, and in outputs of earlier programs.
        pa.field("object_score_p10", pa.float32()),  # a tenth of the visible rows are at most this
        pa.field("object_score_median", pa.float32()),  # over all rows
        pa.field("num_flips", pa.int32()),  # times it vanishes and comes back
        pa.field("lost_share", pa.float32()),  # of its rows, those at the end without it; 0: it left over the border
        pa.field("predicted_iou_p10", pa.float32()),
        pa.field("longest_low_iou", pa.int32()),  # rows in a row below 0.7
        pa.field("stability_p10", pa.float32()),
        # A tenth of the visible rows that were tracked are at most so similar to the prompt; null: none was.
        pa.field("pointer_similarity_p10", pa.float32()),
        pa.field("pointer_frame", pa.int32()),  # where the similarity is lowest
        pa.field("area_jump", pa.float32()),  # the largest change from one row to the next, as a factor
        pa.field("area_jump_frame", pa.int32()),
        pa.field("shape_iou_min", pa.float32()),  # lowest IoU with the row before, moved upon it, where it changes most
        pa.field("shape_jump_frame", pa.int32()),
        pa.field("leap", pa.float32()),  # the largest way from one row to the next, by its own size
        pa.field("num_parts_max", pa.int32()),
        pa.field("fragments_share", pa.float32()),  # of its visible rows, those with more parts than at the prompt
        pa.field("area_share_max", pa.float32()),  # of the picture; 0: the prompt covered half of it
        pa.field("border_share", pa.float32()),  # of its visible rows, those that touch the border of the picture
        pa.field("overlap_iou", pa.float32()),  # mean IoU with the track that overlaps it most, over up to 64 frames
        pa.field("overlap_share", pa.float32()),  # the same as a share of the smaller mask
        pa.field("overlap_object_id", pa.int64()),  # the track that overlaps it most, on the frame on which it does
        pa.field("doubt", pa.float32()),  # 0 … 1
        pa.field("doubt_reasons", pa.list_(pa.string())),  # codes, the heaviest first
        pa.field("doubt_frame", pa.int32()),  # where to look
        # Of a walk back to the prompt (`conf=verify`): readers put them in.
        pa.field("cycle_iou", pa.float32()),  # of both masks at the prompt
        pa.field("walks_iou", pa.float32()),  # mean IoU of the masks of both walks over the frames between
        pa.field("parting_frame", pa.int32()),  # both agree from here on; null: they never part
        # What a reviewer said of these labels. Null in segments: readers put in what `reviews/` says by then.
        pa.field("verdict", pa.string()),  # `pipeline.reviews.verdicts.Verdict`; null: nobody has said anything
        pa.field("reviewer", pa.string()),
        pa.field("reviewed_at", pa.timestamp("ms", tz="UTC")),
        # How its rows came about. A later round copies the rows that it need not make again, with these values. Null in
        # outputs of earlier programs.
        pa.field("round", pa.int32()),  # of the job: 1 until a run takes reviews in for the first time
        pa.field("labeled_at", pa.timestamp("ms", tz="UTC")),  # null: see `kept_since` of the video
        pa.field("correction", pa.string()),  # what reviewers did before: `fix`, `added` or `split`; null: nothing
        pa.field("corrected_by", pa.string()),  # the reviewers, joined by commas
        pa.field("weights", pa.string()),  # hash of the content of the weights
        pa.field("prompts", pa.string()),  # `table`, `discover`, or `review:` with a hash of all corrections
        # How `conf=discover` came upon it. Null in objects that a table of prompts names.
        pa.field("seed_source", pa.string()),  # `grid` or `detections`
        pa.field("seed_score", pa.float32()),  # 0 … 1: predicted IoU times stability, or a detector's score
        pa.field("seed_stability", pa.float32()),
        pa.field("seed_duplicates", pa.list_(MERGED)),  # objects that are this one, and have no rows of their own
    ]
)

VIDEOS = pa.schema(
    [
        pa.field("video_id", pa.string(), nullable=False),
        pa.field("status", pa.string(), nullable=False),  # `pipeline.records.Status`
        pa.field("error_class", pa.string(), nullable=False),  # empty: none
        pa.field("message", pa.string(), nullable=False),  # why it failed; warnings of an `ok` video
        pa.field("uri", pa.string()),  # without query string; null: the bytes were in the row
        pa.field("num_masks", pa.int64(), nullable=False),
        pa.field("num_tracks", pa.int32(), nullable=False),
        pa.field("num_tracks_failed", pa.int32()),  # objects without masks, see `tracks`; null: not counted then
        pa.field("num_frames", pa.int32(), nullable=False),  # labeled frames
        pa.field("num_frames_decoded", pa.int32(), nullable=False),
        pa.field("num_frames_expected", pa.int32()),  # what the container claims; null: nothing
        pa.field("height", pa.int32()),  # stored pixels, upright: pixels that are not square are not stretched
        pa.field("width", pa.int32()),
        pa.field("fps", pa.float64()),
        pa.field("rotation_degrees", pa.int32()),
        pa.field("pixel_aspect", pa.float64()),  # width of a pixel / its height, upright; 1: square
        pa.field("duration_seconds", pa.float64()),
        pa.field("fetch_seconds", pa.float64()),
        pa.field("decode_seconds", pa.float64()),
        pa.field("propagate_seconds", pa.float64()),
        pa.field("encode_seconds", pa.float64()),  # masks to run lengths
        pa.field("wall_seconds", pa.float64()),
        pa.field("finished_at", pa.timestamp("ms", tz="UTC")),
        pa.field("attempts", pa.int32(), nullable=False),
        pa.field("worker", pa.string(), nullable=False),
        pa.field("segment", pa.string(), nullable=False),  # filled by the segment writer
        pa.field("checkpoint", pa.string(), nullable=False),
        pa.field("config_hash", pa.string(), nullable=False),  # hash of the job's fingerprint
        pa.field("prompt_hash", pa.string(), nullable=False),
        pa.field("versions", pa.string(), nullable=False),  # "maskmill 0.1.0, torch 2.8.0, …, NVIDIA H100, …"
        pa.field("kept", pa.string()),  # JSON: columns of the table of videos that `keep_columns` named
        pa.field("source_bytes", pa.int64()),  # size of the file, or of the archive that holds it
        pa.field("source_version", pa.string()),  # its ETag or time of change when it was labeled; null: not told
        pa.field("unexplained_share", pa.float32()),  # of the key frames, found masks of no object; null: no search
        pa.field("cuts_seconds", pa.list_(pa.float64())),  # times in the file at which objects ended; null: none
        # When its tracks without `labeled_at` were made, if that was before this round; null: at `finished_at`.
        pa.field("kept_since", pa.timestamp("ms", tz="UTC")),
        # The first and the last frame with rows in `masks`. Null: there are none, or an earlier program labeled it.
        pa.field("first_frame_index", pa.int32()),
        pa.field("first_pts_seconds", pa.float64()),  # null also where the container has no times
        pa.field("first_frame_sha256", pa.string()),  # `pipeline.video.frame_digest`; null also where it was not read
        pa.field("last_frame_index", pa.int32()),
        pa.field("last_pts_seconds", pa.float64()),
        pa.field("last_frame_sha256", pa.string()),
    ]
)

TABLES: dict[str, pa.Schema] = {"masks": MASKS, "tracks": TRACKS, "videos": VIDEOS}


def with_columns_of_today(rows: pa.Table, schema: pa.Schema, columns: Sequence[str] | None = None) -> pa.Table:
    """Rows that any commit wrote, in the columns of `schema` or in those of them that `columns` names.

    A column that the rows lack is null, and one that the schema lacks is left out. Raises `ValueError` if values do not
    fit their column.
    """
    wanted = schema if columns is None else pa.schema([schema.field(name) for name in columns])
    if rows.schema.equals(wanted):
        return rows
    present = [
        rows[field.name] if field.name in rows.column_names else _nulls(field, rows.num_rows) for field in wanted
    ]
    return pa.Table.from_arrays(present, names=wanted.names).cast(wanted)


def _nulls(field: pa.Field, num_rows: int) -> pa.Array:
    if not field.nullable:
        raise ValueError(f"the rows lack column {field.name}")
    return pa.nulls(num_rows, field.type)
