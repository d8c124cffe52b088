"""The folder or URI of an export: files that are whole or absent, parts that a killed export keeps, the manifest last.

manifest.json           the last file: with it the export is whole
manifest_videos.jsonl   a line a video: the numbers, names and frames that it has in the export
_parts/export.json      what is being exported: the same command goes on, another one is refused
_parts/000012.json      part 12 is written
_parts/000012/…         what it adds to files that hold something of every video
_parts/names/….name     a file or folder of the export, noted before it is written: what may be deleted later
_parts/writers/….json   a process that writes here: a different export that comes meanwhile is refused
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, BinaryIO, cast

from pipeline.commits.owner import Heartbeat
from pipeline.errors import ConfigError, StorageError
from pipeline.formats.exporters import PARTS, WRITERS, Exporter, exporting
from pipeline.formats.losses import Losses, NotHashed
from pipeline.redact import redact
from pipeline.storage.documents import check_version
from pipeline.storage.job_storage import TEMPORARY, JobStorage
from pipeline.text import one_line

VERSION = 1
"""Of the manifest and of what parts keep. A field that changes its meaning makes a new one."""

MANIFEST = "manifest.json"
VIDEOS = "manifest_videos.jsonl"
UNFINISHED = f"{PARTS}/export.json"
"""What is being exported: it is there until the manifest is."""

_NAMES, _NAME = f"{PARTS}/names", ".name"
_BYTES_IN_MEMORY = 8 << 20
_READ_BYTES = 4 << 20
_MARKS_AT_A_TIME = 1000
_HEARTBEAT = Heartbeat()
_ENCODER = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False)
_AT_A_TIME = 16
_OF_DISKS = {
    getattr(errno, name)
    for name in ("ENOSPC", "EDQUOT", "EFBIG", "EROFS", "EACCES", "EPERM", "EIO", "ENAMETOOLONG", "ENOTDIR", "EISDIR")
    if hasattr(errno, name)
}


class Written:
    """What the marks of parts say: their streams by number, and the sums of what they count and lose."""

    def __init__(self) -> None:
        self.streams: dict[int, tuple[str, ...]] = {}
        self.losses = Losses()
        self.not_hashed = NotHashed()
        self.counts: Counter[str] = Counter()
        self.splits: dict[str, Counter[str]] = {}

    def add(self, number: int, said: Mapping[str, Any]) -> None:
        """Take in what a part said at its end."""
        self.streams[number] = tuple(map(sys.intern, said["streams"]))
        self.losses.merge(said["lost"])
        self.not_hashed.merge(said["not_hashed"])
        self.counts.update(said["counts"])
        self.splits.setdefault(said["split"], Counter()).update(said["counts"])


@dataclass(frozen=True)
class Taken:
    """A folder in which this process alone, or with others of the same export, may write.

    `is_whole`: the export is there already. `check` raises when others may not know any more that this process writes.
    """

    is_whole: bool
    check: Callable[[], None]


@dataclass(frozen=True)
class _Found:
    """What is in the folder: the export that has it, and what of it this one must delete.

    `is_another`: it is another export, of which something is written. `remains` are what parts keep.
    """

    identity: Mapping[str, Any]
    is_another: bool = False
    is_whole: bool = False
    remains: tuple[str, ...] = ()
    deleted: tuple[str, ...] = ()


class ExportFolder:
    """See the module. `spool_dir` on local disk takes files on their way to a remote store. Cheap to pickle.

    `has_helpers`: other processes write parts for the one that takes the folder.
    """

    def __init__(self, storage: JobStorage, spool_dir: str | None, *, has_helpers: bool = False) -> None:
        self.storage = storage
        self.spool_dir = spool_dir
        self._has_helpers = has_helpers
        self._identity: Mapping[str, Any] | None = None
        self._written: Written | None = None
        self._noted: set[str] = set()

    @contextlib.contextmanager
    def taken(self, identity: Mapping[str, Any], overwrite: bool) -> Iterator[Taken]:
        """Take the folder for what `identity` says, and keep other exports out of it meanwhile.

        With `overwrite` another export in it is deleted. Raises `ConfigError` if another export is being written there,
        if it holds another one, or files of others.
        """
        found = self._look(identity, overwrite)
        if found.is_whole and not found.remains:
            yield Taken(True, lambda: None)
            return
        try:
            with exporting(self.storage, identity, self._has_helpers, _HEARTBEAT) as at_work:
                if at_work.rivals:
                    raise ConfigError(self._is_busy(at_work.rivals[0]))
                found = self._look(identity, overwrite)  # what was seen before may have changed
                if found.is_another and not overwrite:
                    raise ConfigError(self._other(found.identity, identity))
                if found.deleted and at_work.twins:
                    raise ConfigError(self._is_deleted(at_work.twins[0]))
                self._delete(found.deleted)
                self._identity = identity
                if found.is_whole:
                    self.clear()
                else:
                    document = {"version": VERSION, "identity": identity}
                    self.storage.replace(UNFINISHED, json.dumps(document, indent=2).encode())
                yield Taken(found.is_whole, at_work.check)
        finally:
            self.storage.delete_empty_folders(PARTS)

    def check_is_ours(self) -> None:
        """Raises `ConfigError` if another export has taken the folder: this process was silent for too long."""
        for name in (UNFINISHED, MANIFEST):
            written = self._document(name)
            if written is None:
                continue
            if self._identity is not None and written["identity"] != self._identity:
                raise ConfigError(
                    f"to={self.storage}: another export, format={written['identity'].get('format')}, has taken this "
                    "folder while this one showed no sign of life: name another folder"
                )
            return

    def _look(self, identity: Mapping[str, Any], overwrite: bool) -> _Found:
        """What is in the folder, and what of it must go. Raises `ConfigError` for files of others, and whole exports.

        What parts keep is listed first: parts that come after that belong to a document which is read later.
        """
        remains = self._remains()
        for name in (MANIFEST, UNFINISHED):
            written = self._document(name)
            if written is None:
                continue
            before = written["identity"]
            if before == identity:
                return _Found(before, is_whole=name == MANIFEST, remains=remains)
            if name == MANIFEST and not overwrite:
                raise ConfigError(self._other(before, identity))
            there = self.storage.names_below()
            self._check_all_are_of(written, name, there)
            # What says whose the files are is deleted last, because a deletion that is killed must go on.
            mark = PurePosixPath(name).parts[0]
            is_another = name == MANIFEST or bool(self.parts_done().streams)
            return _Found(before, is_another, remains=remains, deleted=tuple(sorted(there, key=mark.__eq__)))
        names = [name for name in self.storage.names_below() if name != PARTS]
        if MANIFEST in names:
            return self._look(identity, overwrite)  # an export has ended between the two looks at its documents
        if names:
            raise ConfigError(
                f"to={self.storage}: holds {_few(names)} of others: name a folder that is empty or does not exist"
            )
        # Parts without a document are what a deletion has left that was killed.
        return _Found(identity, remains=remains, deleted=(PARTS,) if remains else ())

    def _remains(self) -> tuple[str, ...]:
        """What parts keep, without the marks of processes at work."""
        return tuple(path for path in self.storage.tree(PARTS) if not path.startswith(f"{WRITERS}/"))

    def _delete(self, names: Iterable[str]) -> None:
        for name in names:
            if name == PARTS:
                self.storage.delete(self._remains())
            else:
                self.storage.delete_tree(name)

    def is_whole(self, identity: Mapping[str, Any]) -> bool:
        """Whether this very export is there, with its manifest."""
        written = self._document(MANIFEST)
        return written is not None and written["identity"] == identity

    def parts_done(self) -> Written:
        """What is written so far, as the marks of the parts say."""
        markers = [one.path for one in self.storage.listing(PARTS) if one.path.endswith(".json")]
        markers = [path for path in markers if path != UNFINISHED]
        found = Written()
        for first in range(0, len(markers), _MARKS_AT_A_TIME):
            some = markers[first : first + _MARKS_AT_A_TIME]
            for path, data in zip(some, self.storage.in_parallel(self.storage.read, some), strict=True):
                found.add(int(PurePosixPath(path).stem), json.loads(data))
        return found

    def all_written(self) -> Written:
        """What all parts said: no part is written any more from now on, and the streams can be read."""
        self._written = self.parts_done()
        return self._written

    @property
    def num_masks(self) -> int:
        """Masks of the export: as its manifest says it, and before there is one, as all parts do."""
        manifest = self._document(MANIFEST)
        counts = manifest["counts"] if manifest is not None else (self._written or self.all_written()).counts
        return int(counts["masks"])

    def chunks(self, name: str) -> Iterator[bytes]:
        """The bytes of a stream over all parts in order: records that end with a line feed. Chunks end anywhere."""
        written = self._written or self.all_written()
        for number, streams in sorted(written.streams.items()):
            if name in streams:
                yield from self._chunks(_stream(number, name))

    def stream(self, name: str) -> Iterator[bytes]:
        """The records of a stream over all parts in order, without the ends of their lines."""
        rest: list[bytes] = []
        for chunk in self.chunks(name):
            first, *lines = chunk.split(b"\n")
            rest.append(first)
            for line in lines:
                yield b"".join(rest)
                rest = [line]

    def write(self, name: str, pieces: Iterable[bytes]) -> None:
        """Write a file of the export from its pieces."""
        with Writing(self) as files, files.open(name) as file:
            for piece in pieces:
                file.write(piece)

    def finish(self, identity: Mapping[str, Any], manifest: Mapping[str, Any]) -> None:
        """Write the manifest, by which the export is whole, and delete what the parts kept."""
        self.check_is_ours()
        names = sorted({*self._names(), MANIFEST, VIDEOS})
        written = {"version": VERSION, **manifest, "names": names, "identity": identity}
        self.storage.replace(MANIFEST, json.dumps(written, indent=2).encode())
        self.clear()

    def clear(self) -> None:
        """Delete what the parts kept, and what a killed export has half written."""
        if self.storage.is_local:
            self.storage.delete_tree(TEMPORARY)
        self._delete([PARTS])

    def publish(self, name: str, spool: IO[bytes], local: Path | None) -> None:
        """Give a written file its name. `local` is where it lies on the disk of the export itself."""
        first = PurePosixPath(name).parts[0]
        if first != PARTS and first not in self._noted:
            self.storage.replace(f"{_NAMES}/{first}{_NAME}", b"")
            self._noted.add(first)
        if local is not None:
            self.storage.adopt(local, name)
        elif spool.seek(0, os.SEEK_END) > _BYTES_IN_MEMORY:
            self.storage.put_file(Path(spool.name), name)
        else:
            spool.seek(0)
            self.storage.replace(name, spool.read())

    def new_spool(self) -> tuple[IO[bytes], Path | None]:
        """A file to write to, and its path if it lies on the disk of the export itself, where it only gets a name."""
        local = self.storage.aside()
        if local is not None:
            return local.open("w+b"), local
        return tempfile.NamedTemporaryFile(prefix="maskmill-", dir=self.spool_dir), None

    def _chunks(self, path: str) -> Iterator[bytes]:
        place = 0
        with self.storage.open_input(path) as file:

            def read() -> bytes:
                file.seek(place)
                return file.read(_READ_BYTES)

            while data := self.storage.retry(f"read {path}", read):
                place += len(data)
                yield data

    def _document(self, name: str) -> dict[str, Any] | None:
        (data,) = self.storage.read_existing([name])
        if data is None:
            return None
        found: Any = None
        with contextlib.suppress(ValueError):
            found = json.loads(data)
        if not isinstance(found, dict) or "identity" not in found or not isinstance(found.get("version"), int):
            raise ConfigError(f"to={self.storage}: {name} is none of maskmill's: name an empty folder")
        check_version(f"{self.storage}/{name}", found["version"], VERSION)
        return cast(dict[str, Any], found)

    def _names(self) -> list[str]:
        """Files and folders of the export that were written so far, those directly in the folder."""
        paths = (PurePosixPath(one.path) for one in self.storage.listing(_NAMES))
        return [path.name.removesuffix(_NAME) for path in paths]

    def _check_all_are_of(self, written: Mapping[str, Any], document: str, there: Sequence[str]) -> None:
        """Raises `ConfigError` if names in the folder are not of the export that this document of it describes."""
        if document == MANIFEST and "names" not in written:
            raise ConfigError(
                f"to={self.storage}: its export is of an earlier version, which does not say what belongs to it: "
                "delete the folder yourself, or name another one"
            )
        own = {MANIFEST, VIDEOS, PARTS, TEMPORARY, *written.get("names", ()), *self._names()}
        if others := sorted(set(there) - own):
            raise ConfigError(
                f"to={self.storage}: {_few(others)} beside the export, which others wrote, would be deleted too: move "
                "that away, or name another folder"
            )

    def _is_busy(self, rival: Exporter) -> str:
        return (
            f"to={self.storage}: another export, format={rival.format}, is being written there by {rival.writer_id} "
            f"(last sign {rival.beat_at}): wait until it has ended, stop it, or name another folder. If it was killed "
            f"on another machine, run the same command again {_HEARTBEAT.stale_seconds:.0f} s after that sign"
        )

    def _is_deleted(self, twin: Exporter) -> str:
        return (
            f"to={self.storage}: what lies there is to be deleted, and {twin.writer_id} (last sign {twin.beat_at}), "
            "which has the same command, may be about to do that: run the same command again in a minute"
        )

    def _other(self, before: Mapping[str, Any], identity: Mapping[str, Any]) -> str:
        differing = [key for key in {**before, **identity} if before.get(key) != identity.get(key)]
        keys = [key for key in differing if key not in ("plan", "parts")]
        if "format" in keys:
            what = f"another export, format={before.get('format')}"
        elif keys:
            values = (f"{key} ({_shown(before.get(key))}, not {_shown(identity.get(key))})" for key in keys)
            what = f"an export with another {', '.join(values)}"
        else:
            what = "an export with other labels or verdicts of the job"
        return f"to={self.storage}: holds {what}: name another folder, or give overwrite=true to delete it"


def _few(names: Sequence[str]) -> str:
    return f"{', '.join(map(one_line, names[:3]))}{', …' if len(names) > 3 else ''}"


def _shown(value: object) -> str:
    """The value of a key in a message. It may be an address with a secret."""
    return one_line(redact(json.dumps(value, ensure_ascii=False)))


class Writing:
    """Files that are being written, several at a time; on leaving all are there and durable, or an error is raised."""

    def __init__(self, folder: ExportFolder) -> None:
        self._folder = folder
        self._pool: ThreadPoolExecutor | None = None
        self._waiting: list[Future[None]] = []

    def __enter__(self) -> Writing:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self.wait()
        finally:
            if self._pool is not None:
                self._pool.shutdown(cancel_futures=True)
                self._pool = None

    @contextlib.contextmanager
    def open(self, name: str) -> Iterator[BinaryIO]:
        """A new file of the export, which gets its name when this is left without an error."""
        _check_name(name)
        with self._disk_errors():
            spool, local = self._folder.new_spool()
        try:
            with self._disk_errors():
                yield cast(BinaryIO, spool)
                spool.flush()
        except BaseException:
            with contextlib.suppress(OSError):  # what a full disk has not taken waits in the file's buffer
                spool.close()
            if local is not None:
                local.unlink(missing_ok=True)
            raise
        self._submit(lambda: self._publish(name, spool, local))

    def wait(self) -> None:
        """Wait until all files have their names. Raises the first error."""
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            one.result()

    def _publish(self, name: str, spool: IO[bytes], local: Path | None) -> None:
        with spool, self._disk_errors():
            if local is not None:
                os.fsync(spool.fileno())
            self._folder.publish(name, spool, local)

    def _submit(self, call: Callable[[], None]) -> None:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(_AT_A_TIME)
        if len(self._waiting) >= 4 * _AT_A_TIME:
            self.wait()
        self._waiting.append(self._pool.submit(call))

    @contextlib.contextmanager
    def _disk_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno not in _OF_DISKS:
                raise
            raise StorageError(
                f"writing to {self._folder.storage} failed: {error}. Make room, or name another folder with to= or "
                "spool_dir=, and run the same command again: it goes on with the parts that are left.",
                transient=False,
            ) from error


class PartFolder:
    """Where the writer puts what it makes of the videos of one part."""

    def __init__(self, folder: ExportFolder, number: int) -> None:
        self.number = number
        self._folder = folder
        self._files = Writing(folder)
        self._streams: dict[str, tuple[contextlib.ExitStack, BinaryIO]] = {}

    @property
    def spool_dir(self) -> str | None:
        """Where a library may write that takes paths only; None is the system's own folder."""
        return self._folder.spool_dir

    def __enter__(self) -> PartFolder:
        self._folder.check_is_ours()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        closing = contextlib.ExitStack()  # closes all of them, whatever one of them raises
        closing.push(self._files)
        for stack, _ in self._streams.values():
            closing.push(stack)
        closing.__exit__(kind, error, trace)

    @contextlib.contextmanager
    def open(self, name: str) -> Iterator[BinaryIO]:
        """A new file of the export, by its path below `to=`. It is whole when this is left, and absent after an error.

        A part that is written again writes it again.
        """
        if name in (MANIFEST, VIDEOS):
            raise ValueError(f"{name} is the engine's")
        with self._files.open(name) as file:
            yield file

    def append(self, stream: str, record: Mapping[str, Any] | str | Iterator[str]) -> None:
        """Add a record to a stream: JSON in one line, a line of text, or the pieces of a long one.

        `ExportFolder.stream` and `chunks` read it in `finish`.
        """
        if isinstance(record, Mapping):
            record = _ENCODER.encode(record)
        if stream not in self._streams:
            stack = contextlib.ExitStack()
            self._streams[stream] = stack, stack.enter_context(self._files.open(_stream(self.number, stream)))
        file = self._streams[stream][1]
        for piece in [record] if isinstance(record, str) else record:
            if "\n" in piece:
                raise ValueError(f"a record of stream {stream} has more than one line")
            file.write(piece.encode())
        file.write(b"\n")

    def finish(self, said: Mapping[str, Any]) -> None:
        """Publish everything, then mark the part as written with what there is to say of it."""
        streams = list(self._streams)
        for stack, _ in self._streams.values():
            stack.close()
        self._streams.clear()
        self._files.wait()
        self._folder.check_is_ours()
        marker = {**said, "streams": streams}
        self._folder.storage.replace(f"{PARTS}/{self.number:06d}.json", json.dumps(marker).encode())


def _stream(number: int, name: str) -> str:
    return f"{PARTS}/{number:06d}/{name}"


def _check_name(name: str) -> None:
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts:
        raise ValueError(f"{name!r} is no name for a file of an export")
