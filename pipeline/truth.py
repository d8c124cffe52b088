"""True masks as scores and comparisons read them: an output or a table as it is, labels of other formats as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.quality.arguments import ScoringArguments
from pipeline.quality.masks import SizeHW
from pipeline.quality.sources import TRUTH, is_read_directly
from pipeline.storage.uris import StorageOptions


@dataclass(frozen=True)
class Truth:
    """What `truth=` names, and how it is read: see the keys of `pipeline.evaluate`."""

    uri: str
    format: str
    images: str | None
    first_frame: int | None
    videos: Sequence[str] = ()
    storage_options: StorageOptions = field(default_factory=dict)

    @classmethod
    def asked_for(cls, uri: str, arguments: ScoringArguments, storage_options: StorageOptions) -> Truth:
        """The truth at `uri`, read as the keys of a command say."""
        told = arguments.format, arguments.images, arguments.first_frame, arguments.videos or ()
        return cls(uri, *told, storage_options)

    def place(self, sizes: Mapping[str, SizeHW | None], folder: Path) -> str:
        """Where its masks can be read. Labels of other formats become a table in `folder`: they come in any order.

        `sizes` are those of the job's videos, by id. Raises `InputError` for labels that are no masks.
        """
        if is_read_directly(self.uri, self.format, self.storage_options):
            return self.uri
        from pipeline.formats.mask_table import KnownVideos, LabelsToRead, write_mask_table

        labels = LabelsToRead(self.uri, self.format, self.images, self.first_frame, self.storage_options)
        write_mask_table(folder / TRUTH, labels, KnownVideos(sizes, self.videos))
        return str(folder / TRUTH)
