"""The masks of the videos of one part, and a video as writers get it: by track, by frame, painted, with its images.

Rows are read once. Those of a part that are more than a few megabytes wait in a file on local disk, which is mapped,
so that neither a long video nor a part of many takes memory.

Legend: H, W pixels of the video as displayed; T labeled frames.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from model import MediaError
from pipeline.arrays import Float64Array, Int64Array, UInt8Array
from pipeline.commits.round_state import FIRST_ROUND
from pipeline.errors import ConfigError, OtherFile, StorageError
from pipeline.formats.handing_out import ForReview, VideoReview
from pipeline.formats.losses import Losses, LostMask
from pipeline.formats.overlap import UInt16Array, paint
from pipeline.formats.plan import PlannedTrack, PlannedVideo
from pipeline.formats.rows import COLUMNS, MaskRow, mask_rows
from pipeline.formats.selection import Content
from pipeline.notebook.file_places import is_there
from pipeline.output.where import quoted
from pipeline.records import FramePosition
from pipeline.storage.atomic_files import spool_errors
from pipeline.storage.schemes import Place, scheme_of
from pipeline.storage.uris import StorageOptions
from pipeline.tables import JobTables
from pipeline.video.frame_digest import frame_digest

if TYPE_CHECKING:
    from pipeline.notebook.source_frames import SourceFile

_BATCH_ROWS = 1024
_WINDOW_ROWS = 2048
_BYTES_IN_MEMORY = 32 << 20


class ExportVideo:
    """One video of an export. See `PlannedVideo` for its numbers.

    `size_hw` is that of its masks, `frame_indexes` and `pts` (nan where the file has no times) are those of its labeled
    frames, `[T]`, ascending. `review` says what reviewers are told, if the video goes out to them. `num_frames_before`
    are the frames of the file before the labeled range, once they were counted. Every method may be called again, and
    reads in bounded memory.
    """

    def __init__(
        self,
        planned: PlannedVideo,
        table: pa.Table,
        content: Content,
        min_area: int,
        files: VideoFiles,
        review: VideoReview | None = None,
    ) -> None:
        self.planned = planned
        self.review = review
        self.row = planned.row
        self.video_id = planned.video_id
        self.name = planned.name
        self.split = planned.split
        self.tracks = planned.tracks
        height, width = table["rle"][0].as_py()["size"]
        self.size_hw: tuple[int, int] = (height, width)
        self.content = content
        self._digests = _digests_of_job(planned.row)
        self.losses = Losses()
        self._min_area = min_area
        self._only_frames: Int64Array | None = None
        self._num_left_out = 0
        self.num_frames_before: int | None = None
        self._table = table
        self._files = files
        self._objects = np.asarray(table["object_id"], np.int64)
        self._frames = np.asarray(table["frame_index"], np.int64)
        self.frame_indexes: Int64Array
        self.frame_indexes, first = np.unique(self._frames, return_index=True)
        self.pts: Float64Array = np.asarray(table["pts_seconds"].take(pa.array(first)).to_numpy(), np.float64)
        if len(self.frame_indexes) > self.row["num_frames"]:
            raise StorageError(f"video {self.video_id!r} has masks on more frames than were labeled", transient=False)

    @property
    def num_masks(self) -> int:
        """Masks that are written: without hidden ones, which have no pixel, and those that the writer leaves out."""
        areas = np.asarray(self._table["area"], np.int64)
        is_visible = np.isin(self._objects, [track.object_id for track in self.tracks]) & (areas > 0)
        is_visible &= areas >= self._min_area
        if self._only_frames is not None:
            is_visible &= np.isin(self._frames, self._only_frames)
        return int(is_visible.sum()) - self._num_left_out

    def write_only(self, frame_indexes: Sequence[int] | Int64Array) -> None:
        """Have it counted that the format says masks of these frames alone."""
        self._only_frames = np.asarray(frame_indexes, np.int64)

    def leave_out_mask(self) -> None:
        """Have it counted that the format says nothing of one mask."""
        self._num_left_out += 1

    def lost(self, kind: str, object_id: int, frame_index: int, iou: float | None = None) -> None:
        """Have the manifest say that the format cannot say this mask: `kind` is holes, parts, overlap or another.

        `iou` is that of what the format says with the mask; None where nothing of it can be compared.
        """
        self.losses.add(kind, LostMask(self.video_id, object_id, frame_index, iou))

    def by_track(self) -> Iterator[tuple[PlannedTrack, Iterator[MaskRow]]]:
        """Each track with its rows by frame. A track has none before its object starts."""
        for track in self.tracks:
            start, end = np.searchsorted(self._objects, [track.object_id, track.object_id + 1]).tolist()
            yield track, self._rows(start, end)

    def by_frame(self) -> Iterator[tuple[int, list[MaskRow]]]:
        """Each labeled frame with the rows of the tracks on it, by object; none where no object has started."""
        ranges = [np.searchsorted(self._objects, [track.object_id, track.object_id + 1]) for track in self.tracks]
        step = max(1, _WINDOW_ROWS // max(1, len(ranges)))
        for first in range(0, len(self.frame_indexes), step):
            window = self.frame_indexes[first : first + step].tolist()
            found: dict[int, list[MaskRow]] = {frame_index: [] for frame_index in window}
            for start, end in ranges:
                low, high = start + np.searchsorted(self._frames[start:end], [window[0], window[-1] + 1])
                for row in self._rows(int(low), int(high)):
                    found[row.frame_index].append(row)
            yield from found.items()

    def painted(self, numbers: Mapping[int, int] | None = None) -> Iterator[tuple[int, UInt16Array]]:
        """Each labeled frame as labels `[H, W]`: numbers of tracks, 0 where none is; `overlap=` says who is on top.

        `numbers` by object id, 1 to 65535, take the place of those of the tracks.

        What a mask loses to others goes into the manifest. Raises `ConfigError` for overlaps with `overlap=refuse`.
        """
        numbers = numbers or {track.object_id: track.number for track in self.tracks}
        for frame_index, rows in self.by_frame():
            try:
                labels_HW, lost = paint(rows, numbers, self.size_hw, self.content.overlap)
            except ConfigError as error:
                raise ConfigError(f"video {self.video_id!r}: {error}") from error
            for row in rows:
                if lost.get(row.object_id) == row.area:
                    self.leave_out_mask()
                if row.object_id in lost:
                    self.lost("overlap", row.object_id, frame_index, 1 - lost[row.object_id] / row.area)
            yield frame_index, labels_HW

    def images(self) -> Iterator[tuple[int, UInt8Array]]:
        """Each labeled frame as uint8 RGB `[H, W, 3]`, upright as its masks are, in the order of the file.

        Raises `ConfigError` where the file is gone, or another one lies in its place.
        """
        for frame_index, pixels_HW3 in self._images(self.frame_indexes.tolist()):
            if frame_index in self._ends:
                self._digests[frame_index] = frame_digest(pixels_HW3)
            yield frame_index, pixels_HW3

    def image_names(self) -> tuple[str, ...]:
        """The files of a video that is a folder of images, in the order of all its frames; none for a video in a file.

        Raises `ConfigError` where it is gone.
        """
        with self._file_errors():
            return self._files.of(self.row).image_names()

    @property
    def frame_hashes(self) -> tuple[str | None, str | None]:
        """Digests of the first and the last frame: what the job noted, or `images` or `hash_frames` came across."""
        first, last = (self._digests.get(index) for index in self._ends)
        return first, last

    @property
    def _ends(self) -> tuple[int, int]:
        return int(self.frame_indexes[0]), int(self.frame_indexes[-1])

    def hash_frames(self) -> str:
        """Find the digests of the first and the last frame that are not known: only then the file is opened.

        Returns why they cannot be found; an empty text where they are.
        """
        missing = sorted({index for index in self._ends if index not in self._digests})
        if not missing:
            return ""
        if why := self._files.why_not(self.row["uri"]):
            return why
        try:
            found = {index: frame_digest(pixels) for index, pixels in self._images(missing, are_apart=True)}
        except ConfigError as error:
            return str(error.__cause__)
        except StorageError as error:
            self._files.has_failed = True
            return str(error)
        self._digests |= found
        return ""

    def count_frames_before(self, place: int) -> None:
        """Count the frames of the file before the labeled range, if the file can be asked. It is read, and not decoded.

        `place` is that of a labeled frame with a time.
        """
        if self._files.why_not(self.row["uri"]):
            return
        known = FramePosition(int(self.frame_indexes[place]), float(self.pts[place]))
        try:
            self.num_frames_before = self._files.of(self.row).num_frames_before(known)
        except (MediaError, OtherFile):
            return
        except StorageError:
            self._files.has_failed = True

    def _images(self, frame_indexes: Sequence[int], *, are_apart: bool = False) -> Iterator[tuple[int, UInt8Array]]:
        wanted: dict[FramePosition, int] = {}
        for place in np.searchsorted(self.frame_indexes, frame_indexes).tolist():
            index, pts = int(self.frame_indexes[place]), float(self.pts[place])
            wanted[FramePosition(index, None if np.isnan(pts) else pts)] = index
        with self._file_errors():
            file = self._files.of(self.row)
            for position, pixels_HW3 in (file.frames_apart if are_apart else file.frames)(list(wanted)):
                yield wanted[position], pixels_HW3

    @contextmanager
    def _file_errors(self) -> Iterator[None]:
        """Have an error of the video's file say what can be done about it."""
        try:
            yield
        except (MediaError, OtherFile) as error:
            raise ConfigError(
                f'{error}. Or leave this video out with "where=video_id != {quoted(self.video_id)}", or give '
                "frames=none"
            ) from error

    def _rows(self, start: int, end: int) -> Iterator[MaskRow]:
        for first in range(start, end, _BATCH_ROWS):
            yield from mask_rows(self._table.slice(first, min(_BATCH_ROWS, end - first)), self._min_area)


class VideoFiles:
    """The files of the videos, where they were or below `root`. `has_failed`: their store does not answer."""

    def __init__(self, root: str | None, storage_options: StorageOptions | None) -> None:
        self.has_failed = False
        self._root = root
        self._storage_options = storage_options

    def of(self, row: Mapping[str, Any]) -> SourceFile:
        """The file of a video by its row in `videos`."""
        # Frames need torch, which takes 2 seconds; masks alone are there at once.
        from pipeline.notebook.source_frames import SourceFile

        return SourceFile(row, self._root, self._storage_options)

    def why_not(self, uri: str | None) -> str:
        """Why a video is not to be opened for its hashes alone; an empty text if it can be."""
        if uri is None:
            return "its bytes were in the table of videos"
        if scheme_of(uri).place is Place.WEB and self._root is None:
            return "it lies on a web server, which is not asked for hashes alone"
        if self.has_failed:
            return "the store of the videos has failed before"
        return "" if is_there(uri, self._root, self._storage_options) else "its file is gone"


class MaskSource:
    """Reads the videos of a part. `folder` on local disk takes the rows of a part from `bytes_in_memory` on.

    `storage_options` are those of the job, for the files of the videos; `review` says what goes out to reviewers.
    """

    def __init__(
        self,
        job: JobTables,
        content: Content,
        min_area: int,
        folder: Path,
        storage_options: StorageOptions | None,
        bytes_in_memory: int = _BYTES_IN_MEMORY,
        review: ForReview | None = None,
    ) -> None:
        self._review = review
        self._job = job
        self._files = VideoFiles(content.videos_root, storage_options)
        self._content = content
        self._min_area = min_area
        self._folder = folder
        self._bytes_in_memory = bytes_in_memory

    def videos(self, planned: Sequence[PlannedVideo], handout: str | None = None) -> Iterator[ExportVideo]:
        """These videos, in their order. Each is valid until all were handed out.

        `handout` is the id under which they go out to be reviewed.

        Raises `ConfigError` if a video was labeled anew since the plan was made.
        """
        with _Spool(self._folder, self._bytes_in_memory) as spool:
            rows = self._read([video.video_id for video in planned], spool)
            ranges = _ranges(rows["video_id"])
            made_at = self._made_at([video.video_id for video in planned])
            for video in planned:
                start, end = ranges.get(video.video_id, (0, 0))
                now = self._job.state.finished.get(video.video_id)
                is_same = now is not None and now.prompt_hash == video.row["prompt_hash"]
                is_same = is_same and (made_at is None or made_at[video.video_id] == video.row["finished_at"])
                if not is_same or end - start != video.row["num_masks"]:
                    raise ConfigError(
                        f"video {video.video_id!r} was labeled again or removed since the export began: run the "
                        "command again with overwrite=true"
                    )
                yield self._export_video(video, rows.slice(start, end - start), handout)

    def _made_at(self, video_ids: Sequence[str]) -> dict[str, datetime | None] | None:
        """When these videos were finished, read after their masks; None where no round of reviews began.

        In a round, new masks take the place of as many former ones of the same prompts.
        """
        if self._job.state.round == FIRST_ROUND:
            return None
        videos = self._job.videos(video_ids)
        made_at = dict(zip(videos["video_id"].to_pylist(), videos["finished_at"].to_pylist(), strict=True))
        return {video_id: made_at.get(video_id) for video_id in video_ids}

    def _export_video(self, video: PlannedVideo, rows: pa.Table, handout: str | None) -> ExportVideo:
        made = ExportVideo(video, rows, self._content, self._min_area, self._files)
        if self._review is None or handout is None:
            return made
        is_shown = self._review.shown(video, made.frame_indexes)
        if not is_shown.all():
            rows = rows.filter(pc.is_in(rows["frame_index"], pa.array(made.frame_indexes[is_shown], pa.int32())))
        review = VideoReview(handout, self._review, video, made.size_hw)
        return ExportVideo(video, rows, self._content, self._min_area, self._files, review)

    def _read(self, video_ids: Sequence[str], spool: _Spool) -> pa.Table:
        def once() -> pa.Table:
            spool.clear()
            scanner = self._job.masks(video_ids, rejected=True).scanner(  # the plan says which are written
                columns=COLUMNS, batch_size=8192, batch_readahead=1, fragment_readahead=1, use_threads=False
            )
            for batch in scanner.to_batches():
                spool.add(batch)
            return spool.table(scanner.projected_schema)

        return self._job.steadily(once)


class _Spool:
    """Rows in memory, or those beyond `bytes_in_memory` in a file that is mapped and deleted in the end."""

    def __init__(self, folder: Path, bytes_in_memory: int) -> None:
        self._folder = folder
        self._path = folder / "rows.arrow"
        self._most = bytes_in_memory
        self._batches: list[pa.RecordBatch] = []
        self._num_bytes = 0
        self._writer: Any = None

    def __enter__(self) -> _Spool:
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget all rows."""
        if self._writer is not None:
            self._writer.close()
            self._path.unlink(missing_ok=True)
        self._batches, self._num_bytes, self._writer = [], 0, None

    def add(self, batch: pa.RecordBatch) -> None:
        """Take these rows."""
        self._num_bytes += batch.nbytes
        self._batches.append(batch)
        if self._num_bytes > self._most:
            with spool_errors(self._folder):
                if self._writer is None:
                    self._writer = pa.ipc.new_file(str(self._path), batch.schema)
                for one in self._batches:
                    self._writer.write_batch(one)
            self._batches, self._num_bytes = [], 0

    def table(self, schema: pa.Schema) -> pa.Table:
        """All rows."""
        parts = []
        if self._writer is not None:
            with spool_errors(self._folder):
                self._writer.close()
                parts.append(pa.ipc.open_file(pa.memory_map(str(self._path))).read_all())
        parts.append(pa.Table.from_batches(self._batches, schema))
        return pa.concat_tables(parts)


def _digests_of_job(row: Mapping[str, Any]) -> dict[int, str]:
    """Digests of frames by frame index, as the job noted them. Those of a frame that is not exported are not used."""
    known = ((row[f"{end}_frame_index"], row[f"{end}_frame_sha256"]) for end in ("first", "last"))
    return {index: digest for index, digest in known if index is not None and digest is not None}


def _ranges(ids: pa.ChunkedArray) -> dict[str, tuple[int, int]]:
    """Where the rows of each video lie: a segment has them together, by object, then frame."""
    encoded = pc.run_end_encode(ids.combine_chunks()) if len(ids) else None
    if encoded is None:
        return {}
    found: dict[str, tuple[int, int]] = {}
    start = 0
    for video_id, end in zip(encoded.values.to_pylist(), encoded.run_ends.to_pylist(), strict=True):
        if video_id in found:
            raise StorageError(f"video {video_id!r}: its masks do not lie together", transient=False)
        found[video_id] = start, end
        start = end
    return found
