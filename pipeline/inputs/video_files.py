"""Videos without a table: those that a folder or a glob in `videos=` holds, or the one video that it names.

A video's id is its path below the folder, or below the part of the glob before its first wildcard, without the suffix:
`videos=clips` and `videos=clips/*.mp4` both call `clips/cup.mp4` `cup`, and `clips/kitchen/pan.mov` is `kitchen/pan`.
A pattern (see `file_rules`) makes other ids of these paths. A folder that holds images and no video files is one video,
and its images are the frames.
"""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from model import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from pipeline.arrays import BoolArray, Int64Array
from pipeline.errors import InputError
from pipeline.ids import HexColumn
from pipeline.inputs.file_rules import DEFAULT_FILE_RULES, FileRules, written_beside
from pipeline.inputs.found_files import FileSorter, FoundFiles, NameOrder
from pipeline.inputs.listing_choice import ListingChoice
from pipeline.inputs.reading import ReadPolicy, read_input
from pipeline.inputs.rows import RowBatch
from pipeline.inputs.table_files import before_wildcards, check_no_listing, is_glob, is_table_file
from pipeline.redact import redact_uri
from pipeline.storage.listing import Asked, ListedFile, can_list_after, list_folder, list_glob, look_at
from pipeline.storage.schemes import Place, scheme_of
from pipeline.storage.uris import StorageOptions, is_local, open_filesystem, split_tar_member
from pipeline.text import counted

_BATCH_ROWS = 1 << 13
_NUM_EXAMPLES = 3


@dataclass(frozen=True)
class Listed:
    """What a listing told beside the videos.

    `writing` are ids of videos whose file, by what lies beside it or by its time, is still being written, and
    `temporary` are names of files that will be videos. `order` says where the next listing may begin, in a store that
    can do that. `choice` is how this one was made; `None` where there was none. One that `is_partial` knows nothing of
    what comes before its begin.
    """

    writing: Collection[str] = ()
    temporary: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    order: NameOrder | None = None
    choice: ListingChoice | None = None

    @property
    def is_partial(self) -> bool:
        """Whether the listing has begun in the middle."""
        return self.choice is not None and self.choice.is_from_last


_NOTHING_TOLD = Listed()


class VideoFiles:
    """The videos of a folder or a glob, read like a table with the columns `video_id` and `uri`. Sorted by id."""

    key = "videos"
    column_names = frozenset(("video_id", "uri"))

    def __init__(
        self, root: str, found: FoundFiles, rules: FileRules = DEFAULT_FILE_RULES, listed: Listed = _NOTHING_TOLD
    ) -> None:
        self.root = root
        self.found = found
        self.listed = listed
        self.files = self.folders = (root,)
        self._rules = rules

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is odd about the files, for the user."""
        return self.listed.warnings

    @property
    def temporary(self) -> tuple[str, ...]:
        """Names of files that will be videos."""
        return self.listed.temporary

    def read(self, names: Sequence[str]) -> Iterator[RowBatch]:
        """Stream these columns. Those that are not `video_id` or `uri` come as nulls."""
        for start in range(0, len(self.found.ids), _BATCH_ROWS):
            ids, tails = (
                self.found.ids[start : start + _BATCH_ROWS],
                self.found.tails.between(start, start + _BATCH_ROWS),
            )
            uris = pc.binary_join_element_wise(self.root, tails.cast(pa.string()), "")
            known = {"video_id": ids, "uri": uris}
            arrays = [known.get(name, pa.nulls(len(ids))) for name in names]
            yield RowBatch(self.root, 0, 0, start, pa.RecordBatch.from_arrays(arrays, names=list(names)))

    def has_anywhere(self, name: str) -> bool:
        """Whether there is this column."""
        return name in self.column_names

    def misspelled(self) -> list[tuple[str, str]]:
        """Files have no columns, so none is misspelled."""
        return []

    def versions(self) -> tuple[pa.Array, HexColumn]:
        """The ids of all videos, and a hash of the version of each one's file where the listing told it."""
        return self.found.ids, self.found.hashes

    def other_names(self) -> tuple[pa.Array, pa.Array]:
        """Names with their suffixes, and the id of each: the rows of `prompts=` may name a video either way."""
        names = pc.utf8_ltrim(self.found.tails.all().cast(self.found.ids.type), "/")
        names = pc.if_else(pc.equal(names, ""), _name_of(self.root), names)
        if self._rules.id_pattern is None:  # then paths without suffixes are ids anyway
            return names, self.found.ids
        stems = pa.array(map(_stem, names.to_pylist()), names.type)
        return pa.concat_arrays([names, stems]), pa.concat_arrays([self.found.ids, self.found.ids])

    @property
    def ids_are_stems(self) -> bool:
        """Whether the id of each video is its name without the suffix."""
        return self._rules.id_pattern is None and len(self.found.ids) > 1

    def named_so(self, names: pa.Array, rows: Int64Array) -> BoolArray:
        """Which of `N` names are those, with the suffix, of the videos in these rows, `[N]`; a row of -1 is none."""
        places = np.flatnonzero(rows >= 0)
        tails = pc.utf8_ltrim(self.found.tails.take(rows[places]), "/")
        is_so = np.zeros(len(rows), dtype=bool)
        is_so[places] = pc.equal(tails, names.take(pa.array(places)).cast(tails.type)).fill_null(False)
        return is_so

    def still_written(self, places: Iterable[tuple[str, str | None]]) -> frozenset[str]:
        """Which of these videos, `(id, URI)`, may still be written. Local files are looked at where a rule needs it."""
        asks_disk = is_local(self.root)
        return frozenset(
            video_id
            for video_id, uri in places
            if video_id in self.listed.writing or (asks_disk and uri and self._rules.is_young_on_disk(uri))
        )

    def same_id_problem(self, num_rows: int) -> str:
        """What is wrong with a video whose id so many files have."""
        if self._rules.id_pattern is not None:
            return f"input.video_id_from gives this id to {num_rows} files; give a pattern that tells them apart"
        return (
            f"{num_rows} files have this name and differ in their suffixes only; rename them, or give a glob such as "
            "videos=clips/*.mp4"
        )

    @property
    def has_id_pattern(self) -> bool:
        """Whether `input.video_id_from=` makes the ids."""
        return self._rules.id_pattern is not None

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
        check_no_listing("videos", uri)
        return _one_video(uri, rules) if _is_video(_name_of(uri)) else None
    ask = partial(read_input, "videos", uri, policy or ReadPolicy())
    filesystem, path = ask(lambda: open_filesystem(uri, storage_options))
    can_begin = can_list_after(filesystem)
    begin = rules.kept.start_after if rules.kept is not None and can_begin else None
    if ask(lambda: is_glob(filesystem, path)):
        root, files = before_wildcards(path), list_glob(filesystem, path, ask, written_beside, begin)
    elif ask(lambda: filesystem.isdir(path)):
        root, files = path.rstrip("/"), list_folder(filesystem, path, ask, begin)
    elif _is_video(path):
        ask(lambda: filesystem.info(path))
        return _one_video(path if is_local(uri) else str(filesystem.unstrip_protocol(path)), rules)
    else:
        return None
    if rules.kept is not None and begin is not None:
        files = chain(_open_files(filesystem, root, rules.kept.open_paths, ask, begin), files)
    absolute = str if is_local(uri) else filesystem.unstrip_protocol
    sorter = FileSorter(root, rules)
    for one in files:
        if is_table_file(one.name[len(root) :]) and str(absolute(one.name)) not in no_tables:
            return None
        sorter.add(one)
    found = sorter.finish()
    if begin is None and not len(found.ids) and not sorter.temporary:
        _check_ids(sorter, rules)
        return None
    order = sorter.order if can_begin else None
    if order is not None and begin is not None:
        order = replace(order, start_after=max(order.start_after, begin))
    told = (sorter.writing, sorter.temporary, tuple(sorter.warnings()), order)
    return VideoFiles(str(absolute(root)), found, rules, Listed(*told, _choice_of(rules, uri, can_begin=can_begin)))


def _choice_of(rules: FileRules, uri: str, *, can_begin: bool) -> ListingChoice | None:
    """How a place was listed; `None` for a folder of this machine, where nobody asks."""
    if can_begin or rules.choice is None:
        return rules.choice if can_begin else None
    return None if is_local(uri) else ListingChoice(False, "this store begins no listing after a name")


def _open_files(filesystem: Any, root: str, paths: Sequence[str], ask: Asked, begin: str) -> Iterator[ListedFile]:
    """The files of videos that lie before the beginning of a listing and are to be looked at nevertheless."""
    names = [name for name in (f"{root}{path}" for path in paths) if name <= begin]
    yield from look_at(filesystem, [name for name in names if _is_video(name)], ask)
    for name in names:
        if not _is_video(name):
            yield from list_folder(filesystem, name, ask)


def _check_ids(sorter: FileSorter, rules: FileRules) -> None:
    """Raises `InputError` if videos are there, and none of them has an id.

    `input.video_id_from=` finds none in their paths, or these are no UTF-8.
    """
    if sorter.no_utf8:
        raise InputError(sorter.warnings()[-1])
    if sorter.nameless and rules.id_pattern is not None:
        examples = ", ".join(map(repr, sorter.nameless[:_NUM_EXAMPLES]))
        raise InputError(
            f"input.video_id_from={rules.id_pattern.pattern} finds no id in any of "
            f"{counted(len(sorter.nameless), 'path')} of videos; it is searched for in the path below the folder, as "
            f"{examples}; correct the pattern"
        )


def _one_video(uri: str, rules: FileRules) -> VideoFiles:
    name = _name_of(uri)
    return VideoFiles(uri, FoundFiles.one(rules.video_id(name, _stem(name)) or _stem(name)), rules)


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
