"""True masks as scores and comparisons read them: an output or a table as it is, labels of other formats as a table."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model import VIDEO_SUFFIXES, MediaError
from pipeline.errors import InputError, StorageError
from pipeline.quality.arguments import ScoringArguments
from pipeline.quality.sources import TRUTH, OutputMasks, is_output, is_read_directly
from pipeline.redact import redact_uri
from pipeline.storage.schemes import Place, scheme_of
from pipeline.storage.uris import StorageOptions

if TYPE_CHECKING:
    from pipeline.formats.mask_table import ImageFolder


@dataclass(frozen=True)
class Truth:
    """What `truth=` names, and how it is read: see the keys of `pipeline.evaluate`."""

    uri: str
    format: str
    images: str | None
    first_frame: int | None
    videos: Sequence[str] = ()
    videos_root: str | None = None
    storage_options: StorageOptions = field(default_factory=dict)

    @classmethod
    def asked_for(cls, uri: str, arguments: ScoringArguments, storage_options: StorageOptions) -> Truth:
        """The truth at `uri`, read as the keys of a command say."""
        told = arguments.format, arguments.images, arguments.first_frame, arguments.videos or (), arguments.videos_root
        return cls(uri, *told, storage_options)

    def place(self, output: OutputMasks, job_options: StorageOptions, folder: Path) -> str:
        """Where its masks can be read. Labels of other formats become a table in `folder`: they come in any order.

        The job of `output` has the sizes of the videos and knows where those lie that are folders of images, which
        `job_options` open. Raises `InputError` for labels that are no masks.
        """
        format_name = self.format
        if is_read_directly(self.uri, self.format, self.storage_options):
            if self.images is not None:
                raise InputError(
                    f"images= is for results of COCO or YouTube-VIS, and truth={redact_uri(self.uri)} names its videos "
                    "itself; leave images out"
                )
            if not self.first_frame:
                return self.uri
            if self.format == "maskmill" or is_output(self.uri, self.storage_options):
                raise InputError(
                    f"first_frame={self.first_frame}: truth={redact_uri(self.uri)} is the output of a job, whose "
                    "frames count from 0; leave first_frame out"
                )
            format_name = "parquet"  # its frames are shifted on the way into a table of our own
        from pipeline.formats.mask_table import KnownVideos, LabelsToRead, write_mask_table

        labels = LabelsToRead(self.uri, format_name, self.images, self.first_frame, self.storage_options)
        files = _Files(output, self.videos_root, job_options)
        write_mask_table(folder / TRUTH, labels, KnownVideos(output.sizes(), self.videos, files.folder_of))
        return str(folder / TRUTH)


class _Files:
    """The files of a job's videos, where they were or below `root`."""

    def __init__(self, output: OutputMasks, root: str | None, options: StorageOptions) -> None:
        self._output = output
        self._root = root
        self._options = options
        self._has_failed = False  # a store that does not answer is not asked again for each video

    def folder_of(self, video_id: str) -> ImageFolder | None:
        """What a video is as a folder of images; None for a film, and for a video that the job does not have.

        Films are told by their names, and web servers have no folders, so that neither is opened.
        """
        row = self._rows.get(video_id)
        if row is None or row["uri"] is None or row["uri"].lower().endswith(VIDEO_SUFFIXES):
            return None
        if scheme_of(row["uri"]).place is Place.WEB and self._root is None:
            return None
        from pipeline.formats.mask_table import ImageFolder

        names = self._image_names(row)
        if names is None:
            return ImageFolder(row["num_frames_decoded"], None)
        stems = [posixpath.splitext(name)[0] for name in names]
        return ImageFolder(len(stems), {stem: place for place, stem in enumerate(stems)}) if stems else None

    def _image_names(self, row: dict[str, Any]) -> Sequence[str] | None:
        """The images of a video in the order of its frames, none of a film; None where its file is gone."""
        if self._has_failed:
            return None
        from pipeline.notebook.source_frames import SourceFile  # torch takes 2 seconds

        try:
            return SourceFile(row, self._root, self._options).image_names()
        except MediaError:
            return None
        except StorageError:
            self._has_failed = True
            return None

    @cached_property
    def _rows(self) -> dict[str, dict[str, Any]]:
        rows = self._output.job.videos().select(["video_id", "uri", "num_frames_decoded"]).to_pylist()
        return {row["video_id"]: row for row in rows}
