"""Videos without a table: those that a folder or a glob in `videos=` holds, or the one video that it names.

A video's id is its path below the folder, or below the part of the glob before its first wildcard, without the suffix:
`videos=clips` and `videos=clips/*.mp4` both call `clips/cup.mp4` `cup`, and `clips/kitchen/pan.mov` is `kitchen/pan`.
A folder that holds images and no video files is one video, and its images are the frames.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyarrow as pa

from model import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from pipeline.inputs.reading import ReadPolicy, read_input
from pipeline.inputs.rows import RowBatch
from pipeline.inputs.table_files import before_wildcards, is_glob, is_table_file
from pipeline.redact import redact_uri
from pipeline.storage.file_versions import FileVersion, version_of
from pipeline.storage.schemes import Place, scheme_of
from pipeline.storage.uris import StorageOptions, is_local, open_filesystem, split_tar_member
from pipeline.text import counted

_BATCH_ROWS = 1 << 13


@dataclass(frozen=True, slots=True)
class _Found:
    """One video: its id, its absolute URI, and its path below the root, with the suffix."""

    video_id: str
    uri: str
    path: str


class VideoFiles:
    """The videos of a folder or a glob, read like a table with the columns `video_id` and `uri`. Sorted by id.

    `versions` are those of their files by id, where the listing of a store told them.
    """

    key = "videos"
    column_names = frozenset(("video_id", "uri"))

    def __init__(
        self,
        root: str,
        found: Sequence[_Found],
        warnings: Sequence[str] = (),
        versions: Mapping[str, FileVersion] | None = None,
    ) -> None:
        self.root = root
        self.versions = versions or {}
        self.files = self.folders = (root,)
        self.warnings = tuple(warnings)
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

    def same_id_problem(self, num_rows: int) -> str:
        """What is wrong with a video whose id so many files have."""
        return (
            f"{num_rows} files have this name and differ in their suffixes only; rename them, or give a glob such as "
            "videos=clips/*.mp4"
        )

    def id_rule(self) -> str:
        """How ids are made, for messages."""
        return f"a video's id is its path below {redact_uri(self.root)}, without the suffix"


def find_videos(
    uri: str,
    storage_options: StorageOptions | None = None,
    policy: ReadPolicy | None = None,
    no_tables: Collection[str] = (),
) -> VideoFiles | None:
    """The videos that `videos={uri}` names; `None` if it names tables, or nothing that can be told from names.

    A folder or a glob with a Parquet file names tables. `no_tables` are Parquet files that do not count, because they
    are the prompts. Raises `InputError` and `StorageError` for what cannot be listed.
    """
    if split_tar_member(uri) is not None:  # a file or a folder of images in the archive
        return None if uri.endswith(".parquet") else _one_video(uri)
    if scheme_of(uri).place is Place.WEB:
        return _one_video(uri) if _is_video(_name_of(uri)) else None
    return read_input("videos", uri, policy or ReadPolicy(), partial(_find, uri, storage_options, frozenset(no_tables)))


def _find(uri: str, options: StorageOptions | None, no_tables: frozenset[str]) -> VideoFiles | None:
    filesystem, path = open_filesystem(uri, options)
    absolute = partial(_absolute, filesystem, is_local(uri))
    listed = partial(_listed, has_details=not is_local(uri))
    named: dict[str, dict[str, Any]] = {}
    if is_glob(filesystem, path):
        root = before_wildcards(path)
        matches = listed(filesystem.glob, path)
        named = {name: info for name, info in matches.items() if not _is_folder(filesystem, name, info)}
        names = named.copy()
        for name in matches.keys() - named.keys():
            names |= listed(filesystem.find, name)
    elif filesystem.isdir(path):
        root, names = path.rstrip("/"), listed(filesystem.find, path)
    elif _is_video(path):
        filesystem.info(path)
        return _one_video(absolute(path))
    else:
        return None
    paths = {_below(root, name): absolute(name) for name in names}
    if any(is_table_file(below) and place not in no_tables for below, place in paths.items()):
        return None
    found, warnings = _group(paths, {_below(root, name) for name in named}, absolute(root))
    told = {absolute(name): version for name, info in names.items() if (version := version_of(info)) is not None}
    versions = {one.video_id: told[one.uri] for one in found if one.uri in told}
    return VideoFiles(absolute(root), found, warnings, versions) if found else None


def _is_folder(filesystem: Any, name: str, info: Mapping[str, Any]) -> bool:
    """Whether a match of a glob is a folder. A store has told it; asking once more costs a request for each."""
    return bool(info["type"] == "directory" if "type" in info else filesystem.isdir(name))


def _listed(listing: Callable[..., Any], path: str, *, has_details: bool) -> dict[str, dict[str, Any]]:
    """What a listing finds, with what it tells of each file. Details of local files would cost a look at each."""
    if not has_details:
        return {str(name): {} for name in listing(path)}
    return {str(name): info for name, info in listing(path, detail=True).items()}


def _one_video(uri: str) -> VideoFiles:
    name = _name_of(uri)
    return VideoFiles(uri, [_Found(_stem(name), uri, name)])


def _group(paths: Mapping[str, str], named: Collection[str], root: str) -> tuple[list[_Found], list[str]]:
    """The videos among files, given by path below the root with their URIs. An image in `named` is one by itself."""
    shown = {path: uri for path, uri in paths.items() if not any(part.startswith(".") for part in path.split("/"))}
    found = [
        _Found(_stem(path), uri, path)
        for path, uri in shown.items()
        if path.lower().endswith(VIDEO_SUFFIXES) or (path in named and path.lower().endswith(IMAGE_SUFFIXES))
    ]
    with_videos = {posixpath.dirname(one.path) for one in found}
    images: dict[str, int] = {}
    for path in shown:
        if path.lower().endswith(IMAGE_SUFFIXES) and path not in named:
            folder = posixpath.dirname(path)
            images[folder] = images.get(folder, 0) + 1
    num_left_out = sum(count for folder, count in images.items() if folder in with_videos)
    folders = [folder for folder in images if folder not in with_videos]
    if "" in folders and (found or len(folders) > 1):
        num_left_out += images[""]
        folders.remove("")
    for folder in folders:
        uri = f"{root}/{folder}" if folder else root
        name = folder or posixpath.basename(root)
        found.append(_Found(name, uri, name))
    warnings = [f"videos: {counted(num_left_out, 'image')} beside the videos: left out"] if num_left_out else []
    num_single = sum(one.path in named and one.path.lower().endswith(IMAGE_SUFFIXES) for one in found)
    if num_single > 1:
        warnings.append(
            f"videos: {num_single} images are as many videos of one frame; if they are frames of one video, name the "
            "folder"
        )
    return found, warnings


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


def _below(root: str, name: str) -> str:
    return name[len(root) :].strip("/")


def _absolute(filesystem: Any, is_on_disk: bool, path: str) -> str:
    return path if is_on_disk else str(filesystem.unstrip_protocol(path))
