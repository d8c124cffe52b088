"""What `from=` names: a file of CVAT or Label Studio, the archive that CVAT offers, or a folder of them."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from dataclasses import replace

from pipeline.elsewhere.cvat_document import read_images, read_video
from pipeline.elsewhere.label_studio_document import read_tasks
from pipeline.elsewhere.recognizing import recognized
from pipeline.elsewhere.returned import Returned, SizeHW
from pipeline.errors import ConfigError, InputError
from pipeline.formats.folder import MANIFEST
from pipeline.formats.label_files import LabelFiles
from pipeline.formats.writers.xml_text import storable
from pipeline.redact import redact_uri
from pipeline.reviews.handouts import Handout, list_handouts, read_handout
from pipeline.storage.destinations import load_file
from pipeline.storage.job_storage import JobStorage
from pipeline.storage.uris import StorageOptions

FORMATS = ("cvat_images", "cvat_video", "label_studio")
"""The formats that come back from reviews."""

_ARCHIVE = ".zip"
_NO_HANDOUT = (
    "no object in it says from which export it comes (attribute handout): export with review=true or queue=, make the "
    "task with the labels of labels.json, so that CVAT keeps attributes, and upload the export's annotations"
)
_IN_ARCHIVE = "annotations.xml"


class Documents:
    """What people said, document by document; and the handouts that they are of, each read once.

    Of several annotations of a task by one person the newest counts; `has_one_reviewer`: all are by one.

    Raises `ConfigError` for a format that does not come back, `InputError` for what is none, and `StorageError`.
    """

    def __init__(
        self,
        storage: JobStorage,
        source: str,
        format_name: str,
        options: StorageOptions | None,
        *,
        has_one_reviewer: bool = False,
    ) -> None:
        if format_name not in FORMATS:
            raise ConfigError(
                f"format={format_name}: reviews come back as {', '.join(FORMATS)}; give that in which they went out"
            )
        self._has_one_reviewer = has_one_reviewer
        self._storage = storage
        self._source = source
        self._format = format_name
        self._options = options
        self._handouts: dict[str, Handout] = {}

    def handout(self, handout: str) -> Handout:
        """What went out under this id, in this format."""
        if handout not in self._handouts:
            found = read_handout(self._storage, handout)
            if found.format != self._format:
                raise ConfigError(f"format={self._format}: that went out as format={found.format}; give that one")
            self._handouts[handout] = found
        return self._handouts[handout]

    def __iter__(self) -> Iterator[Returned]:
        """What each document says, in the order of names; of one document earlier words first."""
        for shown, data in self._files():
            if self._format == "label_studio":
                yield from self._tasks(data, shown)
            else:
                read = read_video if self._format == "cvat_video" else read_images
                returned = read(io.BytesIO(data), shown)
                yield self._with_video_ids(returned if returned.handout else self._recognized(returned, shown))

    def _tasks(self, data: bytes, shown: str) -> Iterator[Returned]:
        def size_of(handout: str, video: str) -> SizeHW:
            handed = self.handout(handout).videos.get(video)
            if handed is None:
                raise InputError(f"{shown}: video {video!r} did not go out in export {handout}")
            return handed.size_hw

        try:
            tasks = json.loads(data)
        except ValueError as error:
            raise InputError(f"{shown}: no JSON ({error}); export as JSON") from error
        newest = {}
        for returned in read_tasks(tasks, shown, size_of):
            if returned.videos[0].is_of_images:  # of some frames, one of several
                yield returned
                continue
            who = None if self._has_one_reviewer else returned.author.name
            newest[returned.handout, returned.videos[0].video, who] = returned
        yield from newest.values()

    def _recognized(self, returned: Returned, shown: str) -> Returned:
        """A document whose objects have lost their attributes, with the handout and ids that its shapes are of."""
        handouts = (read_handout(self._storage, one) for one in list_handouts(self._storage))
        found = recognized(returned, (one for one in handouts if one.format == self._format))
        if found is None:
            raise InputError(f"{shown}: {_NO_HANDOUT}")
        return found

    def _with_video_ids(self, returned: Returned) -> Returned:
        """Videos get their ids back, of which CVAT has the names of folders, or what XML can say of them."""
        handed = self.handout(returned.handout).videos
        by_name = {name: one for one, video in handed.items() for name in (video.name, storable(one))}
        videos = tuple(replace(video, video=by_name.get(video.video, video.video)) for video in returned.videos)
        return Returned(returned.handout, videos, returned.author)

    def _files(self) -> Iterator[tuple[str, bytes]]:
        if self._source.lower().endswith(_ARCHIVE):
            yield from self._archived(redact_uri(self._source), load_file(self._source, self._options))
            return
        files = LabelFiles(self._source, self._options)
        ending = ".json" if self._format == "label_studio" else ".xml"
        names = [name for name in files.ending_in(ending, _ARCHIVE) if not name.endswith(MANIFEST)]
        if not files.is_folder:
            names = list(files.names)
        if not names:
            raise InputError(f"from: {files.shown} holds no {ending} file and no {_ARCHIVE}; name the file")
        for name in names:
            data = files.read(name)
            if name.lower().endswith(_ARCHIVE):
                yield from self._archived(files.shown_name(name), data)
            else:
                yield files.shown_name(name), data

    def _archived(self, shown: str, data: bytes) -> Iterator[tuple[str, bytes]]:
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                names = [name for name in archive.namelist() if name.rsplit("/", 1)[-1] == _IN_ARCHIVE]
                if not names:
                    raise InputError(f"{shown}: there is no {_IN_ARCHIVE} in it")
                for name in names:
                    yield f"{shown}/{name}", archive.read(name)
        except zipfile.BadZipFile as error:
            raise InputError(f"{shown}: {error}; download it again") from error
