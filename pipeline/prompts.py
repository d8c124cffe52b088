"""`python -m pipeline.prompts from=… format=… to=prompts.parquet`: labels of other formats become prompts."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from pipeline.command import ExitCode, TargetArguments, describe_arguments, main
from pipeline.config.columns_config import BoxFormat, OptionalColumn
from pipeline.config.fields import AsTyped, Group
from pipeline.config.kinds import Names, OptionalLocalPlace, OptionalPlace, OptionalRoot, Place
from pipeline.errors import ConfigError, StorageError
from pipeline.formats.label import ReadOptions
from pipeline.formats.label_prompts import Account, Destination, Wishes, write_prompts
from pipeline.formats.label_videos import LabelVideos
from pipeline.formats.labels import FORMATS, crowds_as_objects, read_labels
from pipeline.output.targets import check_file
from pipeline.packages import leave_current_folder
from pipeline.redact import redact, redact_uri
from pipeline.storage.job_storage import JobStorage
from pipeline.text import counted, say


class LabelColumnsConfig(Group):
    """What the columns of a table of boxes are called, where it has others than the standard names."""

    video_id: OptionalColumn = Field(default=None, description="The column of videos, or of paths of pictures.")
    object_id: OptionalColumn = Field(default=None, description="The column that says which object it is.")
    frame_index: OptionalColumn = Field(default=None, description="The column of frames.")
    pts_seconds: OptionalColumn = Field(default=None, description="The column of times in the file.")
    box: OptionalColumn = Field(default=None, description="The column of boxes, or four columns: x0,y0,x1,y1.")
    category: OptionalColumn = Field(default=None, description="The column of categories.")
    score: OptionalColumn = Field(default=None, description="The column of scores.")
    mask_rle: OptionalColumn = Field(default=None, description="The column of masks, as COCO run lengths.")


class _Labels(Group):
    """What is read, what becomes of it, and where it goes."""

    source: Place = Field(alias="from", description="The file or folder of labels.")
    to: OptionalPlace = Field(default=None, description="The table to write, as prompts.parquet.")
    to_review: OptionalPlace = Field(
        default=None,
        description="In the place of to=: the output of the job that `pipeline.export review=true` was of. What people "
        "changed in CVAT or Label Studio becomes reviews of it: see docs/review_elsewhere.md.",
    )
    format: str = Field(default="auto", description=f"auto looks at the file, or one of {', '.join(FORMATS)}.")
    videos: OptionalPlace = Field(
        default=None,
        description="The videos of the job, as in pipeline.run: names, sizes and frames are held against them.",
    )
    frames: str = Field(
        default="first",
        description="Which frames of an object become prompts: first, best (the highest score), every:N (the first "
        "label in each N frames) or all.",
    )
    kind: Literal["best", "box", "mask", "points"] = Field(
        default="best",
        alias="as",
        description="What of a label becomes the prompt: its box, its mask, or points, a click well inside its mask; "
        "best is the mask where there is one, else the box.",
    )
    min_score: float | None = Field(default=None, description="Labels with a lower score are left out.")
    min_area: float | None = Field(default=None, description="Labels with fewer pixels are left out.")
    categories: Names = Field(default=(), description="The categories that are taken; [] is all.")
    crowd: Literal["skip", "take"] = Field(
        default="skip",
        description="What becomes of regions that COCO marks as a crowd (iscrowd=1) and that have no track: take makes "
        "an object of each, for programs that mark each mask so which is a run-length code (CVAT, Datumaro).",
    )
    video: Annotated[str | None, AsTyped("the id of a video")] = Field(
        default=None, description="The video of all labels, where the format names none."
    )
    first_frame: int | None = Field(
        default=None, description="The number that the format gives the first frame; null is the format's own rule."
    )
    size: tuple[int, ...] | None = Field(
        default=None, description="Height and width of the pictures, where neither the format nor videos= says them."
    )
    images: OptionalPlace = Field(
        default=None, description="The COCO or YouTube-VIS file whose images or videos a list of results names by id."
    )
    columns: LabelColumnsConfig = Field(default_factory=LabelColumnsConfig)
    box_format: BoxFormat | None = Field(default=None, description="The form of boxes in a table, as in pipeline.run.")
    unknown_videos: Literal["refuse", "skip"] = Field(
        default="refuse", description="What becomes of labels of videos that videos= lacks."
    )
    check_videos: int = Field(default=100, ge=0, description="How many videos are opened for their size and frames.")
    spool_dir: OptionalLocalPlace = Field(
        default=None,
        description="A local folder for temporary files, about 200 bytes of each label and its mask; null is the "
        "system's own.",
    )

    @field_validator("size", mode="before")
    @classmethod
    def _take_a_list(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value

    @field_validator("size")
    @classmethod
    def _check_size(cls, value: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if value is not None and (len(value) != 2 or min(value) < 1):
            raise ValueError(f"size={list(value)}: give height and width in pixels, as size=[720,1280]")
        return value


class ReturnKeys(Group):
    """How a review that comes back is taken in."""

    reviewer: str | None = Field(
        default=None,
        max_length=100,
        description="With to_review=: who reviewed; null is whom the file names, or the user of this machine.",
    )
    completed: bool = Field(
        default=False,
        description="With to_review=: true accepts tracks that went out to be looked at and that nobody changed. "
        "Annotations that were submitted in Label Studio are completed without it.",
    )
    deleted: bool = Field(
        default=False,
        description="With to_review=: true rejects the tracks of a video of which none came back; otherwise such a "
        "video is left out, because the file may be another.",
    )
    boxes: Literal["decode", "skip"] = Field(
        default="decode",
        description="With to_review=: what becomes of boxes, which are no masks: decode makes masks of them by the "
        "weights of the job, skip leaves them out.",
    )
    videos_root: OptionalRoot = Field(
        default=None,
        description="With to_review= and boxes: a folder or URI below which the files of the videos lie now.",
    )


class PromptsArguments(TargetArguments, _Labels, ReturnKeys):
    """The keys of an import."""


HELP = f"""Makes a table of prompts from labels of other formats, for prompts= of pipeline.run; or takes in a review
that people made in CVAT or Label Studio.

  python -m pipeline.prompts from=detections.json videos=clips to=prompts.parquet
  python -m pipeline.run videos=clips prompts=prompts.parquet output=labels

  python -m pipeline.prompts from=annotations.xml format=cvat_video to_review=labels reviewer=ann

{describe_arguments(PromptsArguments)}

The formats:
{{formats}}

The table is whole or absent. Its columns video_key, object_key, score and source say which label a prompt was: what
the format calls video and object, its score, and the file and entry. Of an object that conf=discover has found, source
is grid or detections, and stability says how stable its mask is. keep_columns=[object_key,score] of pipeline.run
carries them on.

Exit codes:
  {ExitCode.DONE}   The table is written, or the review is taken in.
  {ExitCode.ENVIRONMENT}   The store failed: run the same command again later.
  {ExitCode.REFUSED}   Wrong arguments, or labels that cannot be meant: nothing is written.
  {ExitCode.STOPPED} A signal stopped it: run the same command again at any time.
""".replace("{formats}", "\n".join(f"  {name:<16} {one.sentence}" for name, one in FORMATS.items()))


def run(arguments: PromptsArguments) -> ExitCode:
    """Write the table and say what became of the labels; or take in a review."""
    if arguments.to_review is not None:
        return _take_in(arguments, arguments.to_review)
    if arguments.to is None:
        raise ConfigError("to= is missing: the table to write; or to_review=, the output of the job that was reviewed")
    if of_review := _given(arguments, ReturnKeys):
        raise ConfigError(f"{of_review}= is for to_review=, a review that comes back, and not for to=: leave it out")
    started = time.monotonic()
    options = arguments.storage_options
    size = arguments.size
    read_options = ReadOptions(
        storage_options=options,
        columns={name: value for name, value in arguments.columns.model_dump().items() if value is not None},
        box_format=arguments.box_format,
        images=arguments.images,
        first_frame=arguments.first_frame,
        size_hw=None if size is None else (size[0], size[1]),
    )
    wishes = Wishes(
        arguments.frames,
        arguments.kind,
        arguments.min_score,
        arguments.min_area,
        arguments.categories,
        arguments.video,
        arguments.first_frame or 0,
        arguments.unknown_videos,
    )
    check_file(arguments.to, "prompts.parquet", arguments.to_options)
    labels = read_labels(arguments.source, arguments.format, read_options)
    if arguments.crowd == "take":
        labels = crowds_as_objects(labels)
    videos = LabelVideos(arguments.videos, options, arguments.check_videos)
    with tempfile.TemporaryDirectory(prefix="maskmill-prompts-", dir=arguments.spool_dir) as folder:
        try:
            to = Destination(arguments.to, arguments.to_options, Path(folder))
            account = write_prompts(labels, videos, wishes, to)
        except ValueError as error:
            raise ConfigError(str(error)) from error
        except OSError as error:
            raise StorageError(
                f"{redact_uri(arguments.to)}: {redact(str(error))}; nothing is written: free some space, or give "
                "spool_dir= on another disk, and run the same command again",
                transient=False,
            ) from error
    say("\n".join(_summary(account, redact_uri(arguments.to), time.monotonic() - started)))
    return ExitCode.DONE


def _given(arguments: PromptsArguments, kind: type[Group], but: Collection[str] = ()) -> str:
    """The first key of this kind that was given, empty if none was."""
    names = (name for name in kind.model_fields if name in arguments.model_fields_set and name not in but)
    return next((kind.model_fields[name].alias or name for name in names), "")


def _take_in(arguments: PromptsArguments, output: str) -> ExitCode:
    """Take in what people changed elsewhere, and say what it was."""
    if arguments.to is not None:
        raise ConfigError("to= and to_review= are two commands: give one of them")
    if of_table := _given(arguments, _Labels, but=("source", "to_review", "format")):
        raise ConfigError(f"{of_table}= is for to=, a table of prompts, and not for to_review=: leave it out")
    from pipeline.elsewhere.reading import Documents
    from pipeline.elsewhere.taking_in import ReviewWishes, take_in
    from pipeline.elsewhere.words import taken_in_words

    storage = JobStorage(output, arguments.to_options)
    wishes = ReviewWishes(
        arguments.reviewer,
        arguments.completed,
        arguments.deleted,
        arguments.boxes == "decode",
        arguments.videos_root,
    )
    documents = Documents(
        storage,
        arguments.source,
        arguments.format,
        arguments.storage_options,
        has_one_reviewer=arguments.reviewer is not None,
    )
    say("\n".join(taken_in_words(take_in(storage, documents, wishes), f"{storage}")))
    return ExitCode.DONE


def _summary(account: Account, to: str, seconds: float) -> list[str]:
    lines = [
        f"{to}: {counted(account.num_prompts, 'prompt')} for {counted(account.num_objects, 'object')} in "
        f"{counted(account.num_videos, 'video')}, of {counted(account.num_read, 'label')}, in {seconds:.1f} s"
    ]
    lines += [f"left out  {count} {reason}" for reason, count in account.left_out.most_common()]
    return [*lines, *(f"warning   {warning}" for warning in account.warnings)]


def door(words: Sequence[str] | None = None) -> int:
    """The command: returns its exit code."""
    return main(HELP, PromptsArguments, run, words)


if __name__ == "__main__":
    leave_current_folder()
    sys.exit(door())
