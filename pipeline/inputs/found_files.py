"""The files of a listing as the driver keeps them: columns, because a bucket can have ten million."""

from __future__ import annotations

import posixpath
from array import array
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from model import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from pipeline.arrays import Float64Array
from pipeline.ids import HexColumn, joined_texts
from pipeline.inputs.file_rules import FileRules, written_beside
from pipeline.inputs.packed_columns import PackedTexts, TextPacker, packed
from pipeline.storage.file_versions import changed_on_disk
from pipeline.storage.listing import ListedFile
from pipeline.text import counted, is_utf8, why_no_utf8

_AT_A_TIME = 1 << 16
_NUM_EXAMPLES = 3
_QUARTER = 4


@dataclass(frozen=True)
class FoundFiles:
    """`N` videos, sorted by id: their ids, what follows after the root in their names, hashes of their versions.

    `tails` begin with a slash, and are empty where the root itself is the video. They are packed, because they mostly
    say what the ids say. `hashes` are empty where the listing told no version.
    """

    ids: pa.Array
    tails: PackedTexts
    hashes: HexColumn

    @staticmethod
    def one(video_id: str) -> FoundFiles:
        """The root itself, as a video."""
        nothing = pa.array([""], pa.string())
        return FoundFiles(pa.array([video_id], pa.string()), packed([nothing]), HexColumn.of(nothing, 1))

    def sorted(self) -> FoundFiles:
        """By id, then by name. Most listings are in this order already."""
        before, after = self.ids[:-1], self.ids[1:]
        if pc.all(pc.less(before, after)).as_py() is not False:
            return self
        keys = [("id", "ascending"), ("tail", "ascending")]
        tails = self.tails.all()
        order = pc.sort_indices(pa.table({"id": self.ids, "tail": tails}), sort_keys=keys)
        hashes = self.hashes.take(order.to_numpy().astype(np.int64))
        return FoundFiles(self.ids.take(order), packed([tails.take(order)]), hashes)


@dataclass(frozen=True)
class NameOrder:
    """How names and times of a listing go together.

    `root` is what all names begin with. `start_after` is smaller than the names of all files that came last: a listing
    that is to find what comes next may begin there. Of `num_files` videos, `num_after` have names behind it.
    `has_time`: half of the files that came last have names in the last quarter, or so many came last that nothing can
    be said.
    """

    root: str
    start_after: str
    num_files: int
    num_after: int
    has_time: bool


def _have_time(came_last: pa.Array, tails: PackedTexts) -> bool:
    """Whether names grow with time, by the middle one of those that came last: a few may have come late."""
    if len(came_last) * _QUARTER > len(tails):
        return True
    middle = came_last[pc.sort_indices(came_last)[len(came_last) // 2].as_py()].as_py()
    return tails.num_after(middle) * _QUARTER <= len(tails)


@dataclass
class _Waiting:
    """Files that are not in columns yet."""

    tails: list[str] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    hashes: list[str] = field(default_factory=list)


class FileSorter:
    """Sorts the files of a listing into videos, frames of videos, and what is left out.

    `root` is what the names of all of them begin with. Once `finish` was called, `writing` are ids of videos that are
    still being written, and `temporary` files that will be videos, and `order` says where the next listing may begin;
    `None` where nothing tells it.
    """

    def __init__(self, root: str, rules: FileRules) -> None:
        self.writing: set[str] = set()
        self.temporary: tuple[str, ...] = ()
        self.order: NameOrder | None = None
        self._root = root
        self._rules = rules
        self._waiting = _Waiting()
        self._ids: list[pa.Array] = []
        self._tails = TextPacker()
        self._hashes: list[HexColumn] = []
        self._changed_at = array("d")
        self._folders_of_videos: set[str] = set()
        self._images: dict[str, int] = {}  # how many there are in each folder
        self._young_folders: set[str] = set()
        self._temporary: dict[str, str] = {}  # names of temporary files, by the tail that will be a video
        self._nameless: list[str] = []
        self._no_utf8: list[str] = []
        self._num_single = 0

    def add(self, one: ListedFile) -> None:
        """Take in one file."""
        tail = one.name[len(self._root) :]
        if "/." in tail:
            return
        lower = tail.lower()
        if lower.endswith(VIDEO_SUFFIXES):
            self._keep(tail, one)
        elif lower.endswith(IMAGE_SUFFIXES):
            if one.is_named:
                self._num_single += 1
                self._keep(tail, one)
            else:
                folder = posixpath.dirname(tail).rstrip("/")
                self._images[folder] = self._images.get(folder, 0) + 1
                if self._rules.is_young(one.changed_at):
                    self._young_folders.add(folder)
        elif (meant := written_beside(tail)) is not None:
            changed = changed_on_disk(one.name) if one.changed_at is None else one.changed_at
            if is_utf8(tail) and self._rules.is_at_work(changed) and not self._is_before_begin(one.name):
                self._temporary[meant] = tail

    def _keep(self, tail: str, one: ListedFile) -> None:
        path = tail.strip("/")
        self._folders_of_videos.add(tail.rpartition("/")[0].rstrip("/"))
        video_id = self._id_of(path, path.rpartition(".")[0])  # it has the suffix of a video
        if video_id is not None:
            self._put(video_id, tail, one.version.digest() if one.version else "")
            is_told = one.changed_at is not None and not self._is_before_begin(one.name)
            self._changed_at.append(one.changed_at if is_told and one.changed_at is not None else np.nan)
            if self._rules.is_young(one.changed_at):
                self.writing.add(video_id)

    def _is_before_begin(self, name: str) -> bool:
        """Whether a file was looked at, because its video is open, although the listing begins after it."""
        return self._rules.kept is not None and name <= self._rules.kept.start_after

    def _id_of(self, path: str, stem: str) -> str | None:
        if not is_utf8(path):
            self._no_utf8.append(path)
            return None
        video_id = self._rules.video_id(path, stem)
        if not video_id:
            self._nameless.append(path)
        return video_id or None

    def _put(self, video_id: str, tail: str, digest: str) -> None:
        waiting = self._waiting
        waiting.ids.append(video_id)
        waiting.tails.append(tail)
        waiting.hashes.append(digest)
        if len(waiting.ids) >= _AT_A_TIME:
            self._pack()

    def _pack(self) -> None:
        waiting, self._waiting = self._waiting, _Waiting()
        self._ids.append(pa.array(waiting.ids, pa.large_string()))
        self._tails.add(pa.array(waiting.tails, pa.large_string()))
        self._hashes.append(HexColumn.of(pa.array(waiting.hashes, pa.string()), 1))

    def finish(self) -> FoundFiles:
        """All videos. Nothing is added after this."""
        folders = self._folders_of_frames()
        for folder in folders:
            path = folder.strip("/") or posixpath.basename(self._root)
            if (video_id := self._id_of(path, path)) is not None:
                self._put(video_id, folder, "")
                if folder in self._young_folders:
                    self.writing.add(video_id)
        self._pack()
        found = FoundFiles(joined_texts(self._ids), self._tails.finish(), HexColumn.joined(self._hashes))
        half_there = found.tails.find(list(self._temporary))
        self.writing.update(found.ids.take(pa.array(half_there)).to_pylist())
        there = set(found.tails.take(half_there).to_pylist())
        self.temporary = tuple(
            sorted(tail.strip("/") for will_be, tail in self._temporary.items() if will_be not in there)
        )
        self.order = self._order(found.tails)
        return found.sorted()

    def _order(self, tails: PackedTexts) -> NameOrder | None:
        changed_at: Float64Array = np.frombuffer(self._changed_at, np.float64)
        names, has_time = [*self._temporary], True
        if len(changed_at) and not np.isnan(changed_at).all():
            newest = min(float(np.nanmax(changed_at)), self._rules.now())  # a time to come is of a clock that is wrong
            came_last = np.flatnonzero(changed_at >= newest - self._rules.late_seconds)
            last_tails = tails.take(came_last)
            names.append(pc.min(last_tails).as_py())
            has_time = _have_time(last_tails, tails)
        if not names:
            return None
        start = min(names)[:-1]
        return NameOrder(self._root, f"{self._root}{start}", len(tails), tails.num_after(start), has_time)

    def _folders_of_frames(self) -> list[str]:
        folders = [folder for folder in self._images if folder not in self._folders_of_videos]
        if "" in folders and (self._folders_of_videos or len(folders) > 1):
            folders.remove("")
        return folders

    @property
    def nameless(self) -> list[str]:
        """The paths below the folder in which `input.video_id_from=` finds no id, sorted."""
        return sorted(self._nameless)

    @property
    def no_utf8(self) -> list[str]:
        """The paths below the folder that no table can name, because they have bytes that are no UTF-8, sorted."""
        return sorted(self._no_utf8)

    def warnings(self) -> list[str]:
        """What is odd about the files, for the user. After `finish`."""
        num_frames = sum(self._images[folder] for folder in self._folders_of_frames())
        num_left_out = sum(self._images.values()) - num_frames
        found = []
        if num_left_out:
            found.append(f"videos: {counted(num_left_out, 'image')} beside the videos: left out")
        if self._num_single > 1:
            found.append(
                f"videos: {self._num_single} images are as many videos of one frame; if they are frames of one video, "
                "name the folder"
            )
        if self._nameless:
            examples = ", ".join(map(repr, self.nameless[:_NUM_EXAMPLES]))
            found.append(
                f"videos: {counted(len(self._nameless), 'video')} left out, because input.video_id_from finds no id "
                f"in the path; examples: {examples}"
            )
        if self._no_utf8:
            examples = ", ".join(map(repr, self.no_utf8[:_NUM_EXAMPLES]))
            found.append(
                f"videos: {counted(len(self._no_utf8), 'video')} left out: each name {why_no_utf8()}; "
                f"examples: {examples}"
            )
        return found
