"""What `videos=` and `prompts=` name together: two tables, or one that serves as both, or files and a table."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

from pipeline.errors import InputError
from pipeline.inputs.boxes import FORMS, FRACTIONS, PIXELS, form_of
from pipeline.inputs.columns import DETECTIONS_IN, PROMPTS_IN, VIDEOS_IN
from pipeline.inputs.file_rules import DEFAULT_FILE_RULES, FileRules
from pipeline.inputs.kept import check_kept
from pipeline.inputs.naming import InputNaming
from pipeline.inputs.reading import ReadPolicy
from pipeline.inputs.rows import RowBatch
from pipeline.inputs.shards import ParquetShards
from pipeline.inputs.usual_names import box_meant_by, meant_by, they_are
from pipeline.inputs.video_files import VideoFiles, find_videos
from pipeline.redact import redact_uri
from pipeline.storage.addresses import DEFAULT_RULES, AddressRules
from pipeline.storage.uris import StorageOptions


class InputTables:
    """The tables that `videos=` and `prompts=` name. Without `videos`, the prompts' rows say where each video is.

    Without `prompts`, `videos` must be given: the objects are found by workers.
    `corrections` are places of further prompts, which add to those of `prompts`. They say nothing of where a video is.
    `rules` are those that hold for the addresses in the tables, `files` those for a folder or a glob of videos.

    Raises `InputError` for faults that the names and the first files show: no file, no Parquet, a missing column, a
    wrong type, a name in `columns` that no table has.
    """

    def __init__(
        self,
        videos: str | None,
        prompts: str | None,
        storage_options: StorageOptions | None = None,
        policy: ReadPolicy | None = None,
        naming: InputNaming | None = None,
        corrections: Sequence[str] = (),
        rules: AddressRules = DEFAULT_RULES,
        files: FileRules = DEFAULT_FILE_RULES,
    ) -> None:
        self.rules = rules
        naming = naming or InputNaming()
        if prompts is None and videos is None:
            raise InputError("neither videos= nor prompts= is given: one of them must say where the videos are")
        self.has_detections = naming.has_detections
        self.key_of_prompts = key = "detections" if self.has_detections else "prompts"
        columns = DETECTIONS_IN if self.has_detections else PROMPTS_IN
        self._prompts = prompts and ParquetShards(key, prompts, columns, storage_options, policy, naming=naming.prompts)
        self.corrections = [
            ParquetShards("corrections", place, PROMPTS_IN, storage_options, policy, naming=naming.prompts)
            for place in corrections
        ]
        for table in self.corrections:
            _check_is_no_review(table)
        self.storage_options = storage_options
        self.has_videos_table = videos is not None
        self._uses_cuts = naming.uses_cuts
        self.videos: ParquetShards | VideoFiles
        if videos is None:
            self.videos = self.prompts
        else:
            read = self.prompts.files if self._prompts else ()
            self.videos = find_videos(videos, storage_options, policy, read, files) or ParquetShards(
                "videos", videos, VIDEOS_IN, storage_options, policy, read, naming.videos
            )
        self._check_names(naming)
        for table in self.tables_of_prompts:
            _check_prompts(table)
        self._check_box_format(naming.prompts.box_format)
        check_kept(naming.prompts.keep, self._parquet)
        self.keeps_of_videos = (
            self.videos not in self.tables_of_prompts
            and isinstance(self.videos, ParquetShards)
            and not self.videos.table_columns.isdisjoint(naming.videos.keep)
        )
        self._read_each_file_once()
        if isinstance(self.videos, ParquetShards):
            _check_places(self.videos, with_prompts=videos is None)

    @property
    def has_prompts(self) -> bool:
        """Whether there is a table of prompts. Without one, workers find the objects of the videos."""
        return bool(self._prompts)

    @property
    def has_cuts(self) -> bool:
        """Whether the table of videos says where shots begin, and the job wants to know it."""
        videos = self.videos
        return self._uses_cuts and self.has_videos_table and "cuts_seconds" in videos.column_names

    @property
    def prompts(self) -> ParquetShards:
        """The table of prompts."""
        if not self._prompts:
            raise RuntimeError("there is no table of prompts: ask has_prompts first")
        return self._prompts

    @property
    def _parquet(self) -> dict[str, ParquetShards]:
        """The tables by their keys, without a folder of videos."""
        tables = (self.videos, *self.tables_of_prompts)
        return {table.key: table for table in tables if isinstance(table, ParquetShards)}

    def _check_names(self, naming: InputNaming) -> None:
        """A name in `columns` that no table has is a mistake."""
        tables = self._parquet
        known = frozenset[str]().union(*(table.table_columns for table in tables.values()))
        for names in (naming.videos, naming.prompts):
            for standard, given in names.names.items():
                missing = [name for name in names.table_columns(standard) if name not in known]
                if missing:
                    there = "; ".join(f"{key}= has {', '.join(sorted(t.table_columns))}" for key, t in tables.items())
                    raise InputError(f"columns.{standard}={given}: no table has a column {missing[0]}: {there}")

    def _check_box_format(self, form: str | None) -> None:
        """A `box_format` that no table needs, because the names of all columns of boxes say others, is a mistake."""
        tables = [table for table in self.tables_of_prompts if table.box_told]
        if form is None or not tables or any(form_of(table.box_told) == form for table in tables):
            return
        table = tables[0]
        other = "give columns.box=bbox" if "bbox" in table.table_columns else f"name the column box_{form}"
        raise InputError(
            f"{table.key}: box_format={form} contradicts the name of column {table.box_told} of "
            f"{redact_uri(table.files[0])}, which says the form; leave box_format out, or {other}"
        )

    @property
    def box_told(self) -> str:
        """What tells the form of all boxes (see `boxes.BOX_TOLD`); empty where the tables differ."""
        told = {table.box_told for table in self.tables_of_prompts if table.box_told}
        return told.pop() if len(told) == 1 else ""

    @property
    def tables_of_prompts(self) -> tuple[ParquetShards, ...]:
        """The table of prompts, then those that add to it."""
        return (*((self.prompts,) if self._prompts else ()), *self.corrections)

    @property
    def is_partial(self) -> bool:
        """Whether the videos are those of a listing that began in the middle: finished ones may be missing."""
        return isinstance(self.videos, VideoFiles) and self.videos.listed.is_partial

    @property
    def told_missing(self) -> frozenset[str]:
        """The videos that a place lacks and that have corrections, of which an earlier run has told."""
        choice = self.videos.listed.choice if isinstance(self.videos, VideoFiles) else None
        return frozenset(() if choice is None or choice.before is None else choice.before.missing)

    @property
    def prompt_files(self) -> tuple[str, ...]:
        """The files of all prompts; `file_number` of a batch of `read_prompts` counts them."""
        return tuple(file for table in self.tables_of_prompts for file in table.files)

    def read_prompts(self, names: Sequence[str], video_ids: Collection[str] | None = None) -> Iterator[RowBatch]:
        """Stream these columns of all prompts, or of those that may be of these videos; see `ParquetShards.read`."""
        first = 0
        for table in self.tables_of_prompts:
            for batch in table.read(names, video_ids):
                yield replace(batch, file_number=first + batch.file_number)
            first += len(table.files)

    def _read_each_file_once(self) -> None:
        """Leave out what several places name: rows that are read twice would count twice in the hash of a video."""
        seen = set(self.prompts.files) if self._prompts else set()
        for table in self.corrections:
            table.files = tuple(file for file in table.files if file not in seen)
            seen.update(table.files)


def _check_places(table: ParquetShards, *, with_prompts: bool) -> None:
    """Raises `InputError` if no file of the table says where videos are. `with_prompts`: it is that of the prompts."""
    if not with_prompts and "object_id" in table.table_columns and not {"uri", "bytes"} & table.column_names:
        raise InputError(
            f"{table.key}: {redact_uri(table.files[0])} is a table of prompts, as its column object_id says. A folder "
            f"with a Parquet file is one of tables: name the table of videos itself, or its files by a glob, as in "
            f"'{table.key}=…/*.mp4'"
        )
    if {"uri", "bytes"} & table.column_names or table.has_anywhere("uri"):
        return
    columns = table.first_columns
    remedy = "give it a column uri, or give videos=" if with_prompts else "one is needed"
    meant = "" if with_prompts else meant_by("uri", columns)
    raise InputError(
        f"{table.key}: {redact_uri(table.files[0])} has neither a column uri nor bytes; {remedy}"
        f"{they_are(columns)}{meant}"
    )


_OF_REVIEWS = frozenset(("reviewer", "reviewed_at", "labeled_at", "handout"))


def _check_is_no_review(table: ParquetShards) -> None:
    """Raises `InputError` for files below `reviews/` of a job: most of their rows are no prompts, and would fail."""
    if _OF_REVIEWS.issubset(table.table_columns):
        raise InputError(
            f"{table.key}: {redact_uri(table.files[0])} holds what reviewers have said of a job. A run of that job "
            "takes it in by itself: leave corrections= out, which is for tables of prompts"
        )


def _check_prompts(table: ParquetShards) -> None:
    names, file = table.column_names, redact_uri(table.files[0])
    if not {"points_xy", PIXELS, FRACTIONS, "mask_rle"} & names:
        if "bbox" in table.table_columns:
            raise InputError(
                f"{table.key}: the name of column bbox of {file} does not say what its numbers are; give "
                f"box_format=xywh (COCO), box_format=xyxy (two corners) or another of {', '.join(FORMS)}"
            )
        if table.key == "detections":
            raise InputError(
                f"detections: {file} has no column of boxes, as box_xyxy: name it by columns.box= and say the form of "
                "its boxes by box_format="
            )
        raise InputError(
            f"{table.key}: {file} has none of the columns points_xy (with point_labels), box_xyxy and mask_rle; at "
            f"least one is needed{_instead(table)}"
        )
    if "bbox" in table.table_columns and not {PIXELS, FRACTIONS} & names:
        table.warnings += (
            f"column bbox of the {table.key} table is not read, because its name does not say what its numbers are: "
            "give box_format=",
        )
    if not {"frame_index", "pts_seconds"} & names:
        columns = table.first_columns
        meant = meant_by("frame_index", columns) or meant_by("pts_seconds", columns)
        raise InputError(
            f"{table.key}: {file} has neither frame_index nor pts_seconds; one is needed{they_are(columns)}{meant}"
        )


def _instead(table: ParquetShards) -> str:
    """What may have been meant as a box, clicks or a mask, where a table has none of them by their names."""
    columns = table.first_columns
    spelled = "".join(f"; did you mean {meant} by {name}?" for name, meant in table.misspelled())
    hint = spelled or box_meant_by(columns) or meant_by("mask_rle", columns)
    return they_are(columns) + (
        hint or "; boxes may have other names and forms: see columns.box and box_format in --help"
    )
