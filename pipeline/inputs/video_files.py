"""Videos without a table: those that a folder or a glob in `videos=` holds, or the one video that it names.

A video's id is its path below the folder, or below the part of the glob before its first wildcard, without the suffix:
`videos=clips` and `videos=clips/*.mp4` both call `clips/cup.mp4` `cup`, and `clips/kitchen/pan.mov` is `kitchen/pan`.
A pattern (see `file_rules`) makes other ids of these paths. A folder that holds images and no video files is one video,
and its images are the frames.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pyarrow as pa

from model import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from pipeline.inputs.file_rules import DEFAULT_FILE_RULES, FileRules, written_beside
from pipeline.inputs.reading import ReadPolicy, read_input
from pipeline.inputs.rows import RowBatch
from pipeline.inputs.table_files import before_wildcards, is_glob, is_table_file
from pipeline.redact import redact_uri
from pipeline.storage.file_versions import FileVersion, changed_on_disk
from pipeline.storage.listing import ListedFile, list_folder, list_glob
from pipeline.storage.schemes import Place, scheme_of
from pipeline.storage.uris import StorageOptions, is_local, open_filesystem, split_tar_member
from pipeline.text import counted

_BATCH_ROWS = 1 << 13
_NUM_EXAMPLES = 3


@dataclass(frozen=True, slots=True)
class _Found:
    """One video: its id, its absolute URI, and its path below the root, with the suffix."""

    video_id: str
    uri: str
    path: str


@dataclass(frozen=True)
class Listed:
    """What a listing told beside the names.

    `versions` are those of files by id. `writing` are ids of videos whose file, by what lies beside it or by its time,
    is still being written, and `temporary` are names of files that will be videos.
    """

    versions: Mapping[str, FileVersion] = field(default_factory=dict)
    writing: frozenset[str] = frozenset()
    temporary: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


class VideoFiles:
    """The videos of a folder or a glob, read like a table with the columns `video_id` and `uri`. Sorted by id.

    `versions` are those of their files by id, where the listing of a store told them.
    """

    key = "videos"
    column_names = frozenset(("video_id", "uri"))

    def __init__(
        self, root: str, found: Sequence[_Found], listed: Listed | None = None, rules: FileRules = DEFAULT_FILE_RULES
    ) -> None:
        listed = listed or Listed()
        self.root = root
        self.versions = listed.versions
        self.files = self.folders = (root,)
        self.warnings = listed.warnings
        self.temporary = listed.temporary
        self._writing = listed.writing
        self._rules = rules
        self._found = sorted(found, key=lambda one: (one.video_id, one.path))

    def read(self, names: Sequence[str]) -> Iterator[RowBatch]:
        """Stream these columns. Those that are not `video_id` or `uri` come as nulls."""
        for start in range(0, len(self._found), _BATCH_ROWS):
            part = self._found[start : start + _BATCH_ROWS]
            known = {
                "video_id": pa.array([one.video_id for one in part], pa.string()),
                "uri": pa.array([one.uri for one in part], pa.string()),
            }
            arrays = [known.get(name, pa.nulls(len(part))) for name in names]
            yield RowBatch(self.root, 0, 0, start, pa.RecordBatch.from_arrays(arrays, names=list(names)))

    def has_anywhere(self, name: str) -> bool:
        """Whether there is this column."""
        return name in self.column_names

    def misspelled(self) -> list[tuple[str, str]]:
        """Files have no columns, so none is misspelled."""
        return []

    def other_names(self) -> Mapping[str, str]:
        """Ids by the names with their suffixes, because the rows of `prompts=` may name a video either way."""
        return {one.path: one.video_id for one in self._found}

    def still_written(self, places: Iterable[tuple[str, str | None]]) -> frozenset[str]:
        """Which of these videos, `(id, URI)`, may still be written. Local files are looked at where a rule needs it."""
        asks_disk = is_local(self.root)
        return frozenset(
            video_id
            for video_id, uri in places
            if video_id in self._writing or (asks_disk and uri and self._rules.is_young_on_disk(uri))
        )

    def same_id_problem(self, num_rows: int) -> str:
        """What is wrong with a video whose id so many files have."""
        if self._rules.id_pattern is not None:
            return f"input.video_id_from gives this id to {num_rows} files; give a pattern that tells them apart"
        return (
            f"{num_rows} files have this name and differ in their suffixes only; rename them, or give a glob such as "
            "videos=clips/*.mp4"
        )

    def id_rule(self) -> str:
        """How ids are made, for messages."""
        below = f"its path below {redact_uri(self.root)}"
        if self._rules.id_pattern is not None:
            return f"a video's id is what input.video_id_from finds in {below}"
        return f"a video's id is {below}, without the suffix"


def find_videos(
    uri: str,
    storage_options: StorageOptions | None = None,
    policy: ReadPolicy | None = None,
    no_tables: Collection[str] = (),
    rules: FileRules = DEFAULT_FILE_RULES,
) -> VideoFiles | None:
    """The videos that `videos={uri}` names; `None` if it names tables, or nothing that can be told from names.

    A folder or a glob with a Parquet file names tables. `no_tables` are Parquet files that do not count, because they
    are the prompts. Raises `InputError` and `StorageError` for what cannot be listed.
    """
    if split_tar_member(uri) is not None:  # a file or a folder of images in the archive
        return None if uri.endswith(".parquet") else _one_video(uri, rules)
    if scheme_of(uri).place is Place.WEB:
        return _one_video(uri, rules) if _is_video(_name_of(uri)) else None
    policy = policy or ReadPolicy()
    ask = partial(read_input, "videos", uri, policy)
    filesystem, path = ask(lambda: open_filesystem(uri, storage_options))
    absolute = partial(_absolute, filesystem, is_local(uri))
    if ask(lambda: is_glob(filesystem, path)):
        root, files = before_wildcards(path), list_glob(filesystem, path, ask, written_beside)
    elif ask(lambda: filesystem.isdir(path)):
        root, files = path.rstrip("/"), list_folder(filesystem, path, ask)
    elif _is_video(path):
        ask(lambda: filesystem.info(path))
        return _one_video(absolute(path), rules)
    else:
        return None
    sorter = _Sorter(root, absolute, rules)
    for one in files:
        if is_table_file(one.name[len(root) :]) and absolute(one.name) not in no_tables:
            return None
        sorter.add(one)
    return sorter.videos()


def _one_video(uri: str, rules: FileRules) -> VideoFiles:
    name = _name_of(uri)
    video_id = rules.video_id(name, _stem(name)) or _stem(name)
    return VideoFiles(uri, [_Found(video_id, uri, name)], rules=rules)


class _Sorter:
    """Sorts the files of a listing into videos, frames of videos, and what is left out."""

    def __init__(self, root: str, absolute: Callable[[str], str], rules: FileRules) -> None:
        self._root = root
        self._absolute = absolute
        self._rules = rules
        self._files: list[ListedFile] = []
        self._paths: list[str] = []
        self._images: dict[str, int] = {}  # how many there are in each folder
        self._young_folders: set[str] = set()
        self._temporary: dict[str, str] = {}  # names of temporary files, by the path that will be a video
        self._num_single = 0

    def add(self, one: ListedFile) -> None:
        """Take in one file."""
        path = one.name[len(self._root) :].strip("/")
        if any(part.startswith(".") for part in path.split("/")):
            return
        lower = path.lower()
        if lower.endswith(VIDEO_SUFFIXES):
            self._keep(one, path)
        elif lower.endswith(IMAGE_SUFFIXES):
            if one.is_named:
                self._num_single += 1
                self._keep(one, path)
            else:
                folder = posixpath.dirname(path)
                self._images[folder] = self._images.get(folder, 0) + 1
                if self._rules.is_young(one.changed_at):
                    self._young_folders.add(folder)
        elif (meant := written_beside(path)) is not None:
            changed = changed_on_disk(one.name) if one.changed_at is None else one.changed_at
            if self._rules.is_at_work(changed):
                self._temporary[meant] = path

    def _keep(self, one: ListedFile, path: str) -> None:
        self._files.append(one)
        self._paths.append(path)

    def videos(self) -> VideoFiles | None:
        """The videos; `None` if there are none."""
        root = self._absolute(self._root)
        found: list[_Found] = []
        versions: dict[str, FileVersion] = {}
        writing: set[str] = set()
        nameless: list[str] = []
        for path, one in self._all():
            video_id = self._rules.video_id(path, _stem(path) if one is not None else path or posixpath.basename(root))
            if not video_id:
                nameless.append(path)
                continue
            uri = self._absolute(one.name) if one is not None else f"{root}/{path}" if path else root
            found.append(_Found(video_id, uri, path or posixpath.basename(root)))
            if one is not None and one.version is not None:
                versions[video_id] = one.version
            is_young = self._rules.is_young(one.changed_at) if one is not None else path in self._young_folders
            if is_young or path in self._temporary:
                writing.add(video_id)
        known = set(self._paths)
        temporary = tuple(sorted(name for meant, name in self._temporary.items() if meant not in known))
        if not found and not temporary:
            return None
        warnings = tuple(self._warnings(nameless))
        return VideoFiles(root, found, Listed(versions, frozenset(writing), temporary, warnings), self._rules)

    def _all(self) -> Iterator[tuple[str, ListedFile | None]]:
        """The path of each video, and its file; None for a folder of frames."""
        yield from zip(self._paths, self._files, strict=True)
        yield from ((folder, None) for folder in self._folders_of_frames())

    def _folders_of_frames(self) -> list[str]:
        with_videos = {posixpath.dirname(path) for path in self._paths}
        folders = [folder for folder in self._images if folder not in with_videos]
        if "" in folders and (self._paths or len(folders) > 1):
            folders.remove("")
        return folders

    def _warnings(self, nameless: Sequence[str]) -> Iterator[str]:
        num_left_out = sum(self._images.values()) - sum(self._images[folder] for folder in self._folders_of_frames())
        if num_left_out:
            yield f"videos: {counted(num_left_out, 'image')} beside the videos: left out"
        if self._num_single > 1:
            yield (
                f"videos: {self._num_single} images are as many videos of one frame; if they are frames of one video, "
                "name the folder"
            )
        if nameless:
            examples = ", ".join(map(repr, sorted(nameless)[:_NUM_EXAMPLES]))
            yield (
                f"videos: {counted(len(nameless), 'video')} left out, because input.video_id_from finds no id in the "
                f"path; examples: {examples}"
            )


def _is_video(path: str) -> bool:
    return path.lower().endswith((*VIDEO_SUFFIXES, *IMAGE_SUFFIXES))


def _name_of(uri: str) -> str:
    """The last part of a path or URI; of a member of a tar the member's. A web address counts without its query."""
    parts = split_tar_member(uri)
    if parts is None and scheme_of(uri).place is Place.WEB:
        uri = uri.partition("?")[0].partition("#")[0]
    return posixpath.basename((parts[1] if parts else uri).rstrip("/"))


def _stem(path: str) -> str:
    """A path without the suffix of its file, if that is one of a video or an image."""
    return posixpath.splitext(path)[0] if _is_video(path) else path


def _absolute(filesystem: Any, is_on_disk: bool, path: str) -> str:
    return path if is_on_disk else str(filesystem.unstrip_protocol(path))
