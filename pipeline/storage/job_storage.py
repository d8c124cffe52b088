"""The store of one job: reads, lists, writes and deletes objects below its URI.

Paths are relative to the job, with `/`: `masks/a.parquet`. A name that exists always holds the whole object. On local
disk an object is written aside under `_tmp/`, synced, then linked or renamed. Object stores publish whole objects by
themselves, and have a condition of their own for create-only writes.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast

import fsspec
import pyarrow.fs as pa_fs
from fsspec.implementations.local import LocalFileSystem

from pipeline.errors import AlreadyExists, StorageError, UnusableStore
from pipeline.redact import redact, redact_uri
from pipeline.storage.atomic_files import NoHardLinks, copy_file, create_file, replace_file
from pipeline.storage.faults import has_expired, is_from_storage, is_refused_create, said
from pipeline.storage.on_disk import dead_link, is_file, sizes_in, why_dead
from pipeline.storage.retry import Backoff
from pipeline.storage.schemes import Place, safe_stores, scheme_of
from pipeline.storage.uris import forget_sessions, open_filesystem

A = TypeVar("A")
T = TypeVar("T")
TEMPORARY = "_tmp"
"""The folder of a job for what counts for nothing: files that are being written on local disk, and probes."""

_WRITES = {"create", "write", "upload"}  # where a missing object means a missing bucket
_PARALLEL_REQUESTS = 16
_COPIED_BYTES = 8 << 20


@dataclass(frozen=True)
class Stored:
    """An object of the job: its path relative to the job and its size in bytes."""

    path: str
    num_bytes: int


@dataclass(repr=False)
class JobStorage:
    """A job's objects. Cheap to pickle, because the file system is opened where it is used.

    Every method tries again after an error that can pass by itself (`faults.is_transient`), as `backoff` says, then
    raises `StorageError`. A missing object is a `FileNotFoundError`.
    """

    uri: str
    storage_options: dict[str, Any] | None = None
    single_driver: bool = False
    backoff: Backoff = field(default_factory=Backoff)

    def __post_init__(self) -> None:
        self._opened: tuple[fsspec.AbstractFileSystem, str] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None}

    def __str__(self) -> str:
        return redact_uri(self.uri)

    __repr__ = __str__

    # What kind of store this is

    @property
    def is_local(self) -> bool:
        """Whether the job is on a disk of this machine, or one mounted here."""
        return isinstance(self._filesystem, LocalFileSystem)

    @property
    def supports_create(self) -> bool:
        """Whether the store offers create-only writes. `probe` finds out whether its server keeps to them."""
        return self.is_local or scheme_of(self.uri).can_create

    def probe(self) -> datetime:
        """Check that create-only writes are refused where they must be; return the time by the store's clock.

        Raises:
            UnusableStore: the store would let two drivers write one job. `single_driver` skips the check.
        """
        path = f"{TEMPORARY}/probe-{uuid.uuid4().hex}"
        if not self.supports_create and not self.single_driver:
            raise self._unsafe("this store has no create-only writes")
        try:
            self.create(path, b"first")
            now = self.modified(path)
            if not self.single_driver and not self._refuses_second(path):
                raise self._unsafe("the server ignores the condition of create-only writes")
        except StorageError as error:
            if isinstance(error.__cause__, NoHardLinks):
                raise self._unsafe("this disk makes no hard links") from error
            raise
        finally:
            with contextlib.suppress(StorageError):
                self.delete([path])
        return now

    # Reading

    def read(self, path: str) -> bytes:
        """The whole object."""
        return self._run("read", path, lambda fs, full: cast(bytes, fs.cat_file(full)))

    def read_existing(self, paths: list[str]) -> list[bytes | None]:
        """The objects of `paths`, several at a time; None for those that do not exist."""

        def read(path: str) -> bytes | None:
            try:
                return self.read(path)
            except FileNotFoundError:
                return None

        return self.in_parallel(read, paths)

    def listing(self, folder: str, stem: str = "") -> list[Stored]:
        """Objects directly in `folder` whose name starts with `stem`, ascending by path; none if it does not exist."""

        def find(fs: fsspec.AbstractFileSystem, full: str) -> list[Stored]:
            fs.invalidate_cache(full)
            try:
                if self.is_local:
                    names = sizes_in(full, stem)
                else:
                    narrowed = {"prefix": stem} if stem and scheme_of(self.uri).narrows_listings else {}
                    found = fs.find(full, maxdepth=1, detail=True, **narrowed)
                    names = [(name.rsplit("/", 1)[-1], int(info["size"] or 0)) for name, info in found.items()]
            except FileNotFoundError:
                return []
            stored = (Stored(f"{folder}/{name}", size) for name, size in names if name and name.startswith(stem))
            return sorted(stored, key=lambda entry: entry.path)

        return self._run("list", folder, find)

    def tree(self, folder: str) -> list[str]:
        """Paths of all objects below `folder`, at any depth; none if it does not exist."""

        def find(fs: fsspec.AbstractFileSystem, full: str) -> list[str]:
            fs.invalidate_cache(full)
            try:
                self._check_readable(full)
                found = sorted(name for name in fs.find(full) if name.startswith(f"{full}/"))
            except FileNotFoundError:
                return []
            return [f"{folder}{name[len(full) :]}" for name in found]

        return self._run("list", folder, find)

    def names_below(self) -> list[str]:
        """Names directly below the URI: of files, and of folders with a file at any depth; not of what is written."""

        def find(fs: fsspec.AbstractFileSystem, full: str) -> list[str]:
            fs.invalidate_cache(full)
            try:
                entries = fs.ls(full.rstrip("/"), detail=True)
            except FileNotFoundError:
                return []
            found = set()  # a file without a name is the mark of a folder, which some servers list
            for entry in entries:
                name = str(entry["name"]).rstrip("/")
                if entry["type"] != "directory" or any(any(files) for *_, files in fs.walk(name)):
                    found.add(name.rsplit("/", 1)[-1])
            return sorted(found - {TEMPORARY})

        return self._run("list", "", find)

    def num_bytes(self, path: str) -> int:
        """Size of an object."""
        return self._run("look up", path, lambda fs, full: int(fs.info(full)["size"]))

    def modified(self, path: str) -> datetime:
        """When an object was last written, by the store's clock."""

        def look(fs: fsspec.AbstractFileSystem, full: str) -> datetime:
            when: datetime = fs.modified(full)
            return when if when.tzinfo else when.replace(tzinfo=UTC)

        return self._run("look up", path, look)

    def open_input(self, path: str) -> BinaryIO:
        """A seekable reader of an object, for Parquet; close it. Reads retry inside `retry` only."""
        return self._run("open", path, lambda fs, full: cast(BinaryIO, fs.open(full, "rb")))

    def retry(self, what: str, call: Callable[[], T]) -> T:
        """Run a larger read, such as a Parquet file, with the back-off and the errors of this class."""
        return self._run(what, "", lambda fs, full: call())

    def in_parallel(self, call: Callable[[A], T], items: Iterable[A]) -> list[T]:
        """`call` of each item, several at a time where the store is far away; results in the order of the items."""
        items = list(items)
        if self.is_local or len(items) < 2:
            return [call(item) for item in items]
        with ThreadPoolExecutor(max_workers=min(_PARALLEL_REQUESTS, len(items))) as pool:
            return list(pool.map(call, items))

    def arrow_filesystem(self) -> tuple[pa_fs.FileSystem, str]:
        """The store for pyarrow datasets, and the path of the job in it."""
        filesystem, root = self._filesystem, self._root
        if self.is_local:
            return pa_fs.LocalFileSystem(), root
        return pa_fs.PyFileSystem(pa_fs.FSSpecHandler(filesystem)), root

    # Writing

    def create(self, path: str, data: bytes) -> None:
        """Write an object that must not exist.

        `data` must differ from what any other writer would write (carry a writer's id): a store can refuse a write
        that it has just done, when the first answer was lost, and equal bytes are how that is told from a rival.

        Raises:
            AlreadyExists: another writer's object has that name.
        """

        def write(fs: fsspec.AbstractFileSystem, full: str) -> None:
            if self.single_driver:
                # Nobody to race with, and the disk may have no hard links, the server no conditions.
                if _is_there(fs, full):
                    raise FileExistsError(full)
                self._replace(fs, full, data)
            elif self.is_local:
                create_file(Path(full), data, self._aside)
            else:
                fs.pipe_file(full, data, mode="create")

        try:
            self._run("create", path, write)
        except AlreadyExists:
            if self.read(path) != data:
                raise

    def replace(self, path: str, data: bytes) -> None:
        """Write an object whether or not it exists; readers see the old one or the new one."""
        self._run("write", path, lambda fs, full: self._replace(fs, full, data))

    def put_file(self, local: Path, path: str) -> int:
        """Publish a local file under a name that nobody else uses; check and return its size in bytes."""

        def put(fs: fsspec.AbstractFileSystem, full: str) -> None:
            if self.is_local:
                copy_file(local, Path(full), self._aside)
            else:
                fs.put_file(str(local), full)

        self._run("upload", path, put)
        expected, found = local.stat().st_size, self.num_bytes(path)
        if found != expected:
            raise StorageError(f"upload {self}/{path}: the store holds {found} bytes of {expected}. Run the job again.")
        return found

    def aside(self) -> Path | None:
        """A new path on the local disk of the job, for a file that `adopt` gives its name; None for a remote store."""
        if not self.is_local:
            return None
        self._aside.mkdir(parents=True, exist_ok=True)
        return self._aside / uuid.uuid4().hex

    def adopt(self, local: Path, path: str) -> None:
        """Give a file of `aside`, which is written and synced, its name, whether or not another one has it."""

        def name(fs: fsspec.AbstractFileSystem, full: str) -> None:
            try:
                local.replace(full)
            except FileNotFoundError:  # folders are made only where one lacks, because many files are in one
                Path(full).parent.mkdir(parents=True, exist_ok=True)
                local.replace(full)

        self._run("write", path, name)

    def move(self, path: str, to: str) -> None:
        """Give an object another name, at which it is whole. One that does not exist is fine: it was moved before.

        A store that does not copy gets it once more, through a temporary file of this machine.
        """
        with contextlib.suppress(FileNotFoundError):
            if self.is_local:
                self._run("move", path, lambda fs, full: self._rename(Path(full), Path(self._root) / to))
                return
            if scheme_of(self.uri).can_copy:
                self._run("copy", path, lambda fs, full: fs.cp_file(full, f"{self._root}/{to}"))
                if self.num_bytes(to) != self.num_bytes(path):
                    raise StorageError(f"copy {self}/{path}: the store has not copied the whole object. Run it again.")
            else:
                with tempfile.TemporaryDirectory(prefix="maskmill-") as folder:
                    local = Path(folder) / "object"
                    self._run("read", path, lambda fs, full: self._fetch(fs, full, local))
                    self.put_file(local, to)
            self.delete([path])

    @staticmethod
    def _rename(path: Path, to: Path) -> None:
        to.parent.mkdir(parents=True, exist_ok=True)
        path.replace(to)

    @staticmethod
    def _fetch(fs: fsspec.AbstractFileSystem, full: str, local: Path) -> None:
        with fs.open(full, "rb", block_size=_COPIED_BYTES) as source, local.open("wb") as sink:
            shutil.copyfileobj(source, sink, _COPIED_BYTES)

    def delete_tree(self, path: str) -> None:
        """Delete an object, or all objects below a folder; it is fine if there are none."""
        if not self.is_local:
            self.delete([*self.tree(path), path])
            return
        full = Path(self._root) / path
        with contextlib.suppress(FileNotFoundError):
            if full.is_dir() and not full.is_symlink():
                self._run("delete", path, lambda fs, folder: shutil.rmtree(folder))
            else:
                self.delete([path])

    def delete_empty_folders(self, path: str) -> None:
        """Delete the empty folders at and below a path of a local disk. Object stores have no folders."""
        if self.is_local:
            for folder, *_ in os.walk(Path(self._root) / path, topdown=False):
                with contextlib.suppress(OSError):  # it is not empty
                    Path(folder).rmdir()

    def delete(self, paths: Iterable[str]) -> None:
        """Delete objects; those that do not exist are fine."""

        def remove(fs: fsspec.AbstractFileSystem, full: str) -> None:
            with contextlib.suppress(FileNotFoundError):
                fs.rm_file(full)

        self.in_parallel(lambda path: self._run("delete", path, remove), paths)

    def clear_temporary(self, older_than_seconds: float = 3600.0) -> None:
        """Delete what killed writers left aside on local disk. Younger files may belong to a process at work."""
        if self.is_local and self._aside.is_dir():
            limit = time.time() - older_than_seconds
            for path in self._aside.iterdir():
                with contextlib.suppress(FileNotFoundError):
                    if path.stat().st_mtime < limit:
                        path.unlink()

    # Inside

    @property
    def _filesystem(self) -> fsspec.AbstractFileSystem:
        return self._open()[0]

    @property
    def _root(self) -> str:
        return self._open()[1].rstrip("/")

    def _reopen(self) -> None:
        """Forget the session with the store, so that the next request reads the credentials anew."""
        forget_sessions(self._filesystem)
        self._opened = None

    @property
    def _aside(self) -> Path:
        return Path(self._root) / TEMPORARY

    def _replace(self, fs: fsspec.AbstractFileSystem, full: str, data: bytes) -> None:
        if self.is_local:
            replace_file(Path(full), data, self._aside)
        else:
            fs.pipe_file(full, data)

    def _open(self) -> tuple[fsspec.AbstractFileSystem, str]:
        if self._opened is None:
            if scheme_of(self.uri).place is Place.WEB:
                raise UnusableStore(
                    f"output={self} is on a web server, which neither lists nor takes the files of a job: use "
                    f"{safe_stores()}"
                )
            options = {**scheme_of(self.uri).job_options, **(self.storage_options or {})}
            try:
                self._opened = open_filesystem(self.uri, options)
            except ValueError as error:
                raise UnusableStore(f"output={self}: {redact(str(error))}") from error
            if self.is_local:
                self._check_folder(Path(self._root))
        return self._opened

    def _check_readable(self, full: str) -> None:
        """Raises `OSError` for a folder on disk that cannot be listed: a walk leaves out what it may not read."""
        if self.is_local:
            with contextlib.suppress(NotADirectoryError):
                os.scandir(full).close()

    def _check_folder(self, root: Path) -> None:
        """Raises `UnusableStore` if the place on disk is a file, or lies below one or below a link to nothing."""
        found = next((place for place in (root, *root.absolute().parents) if is_file(place)), None)
        if found is not None:
            self._opened = None
            below = "" if found == root else f" lies below {found}, which"
            raise UnusableStore(f"output={self}{below} is a file: give the folder of the job")
        if (link := dead_link(root.absolute())) is not None:
            self._opened = None
            raise UnusableStore(f"output={self}: {why_dead(link)}")

    def _run(self, verb: str, path: str, call: Callable[[fsspec.AbstractFileSystem, str], T]) -> T:
        what = f"{verb} {self}/{path}" if path else f"{verb} in {self}"

        def attempt() -> T:
            try:
                return call(self._filesystem, f"{self._root}/{path}")
            except Exception as error:
                if has_expired(error):
                    self._reopen()
                raise

        try:
            return self.backoff.run(what, attempt)
        except (StorageError, AlreadyExists, UnusableStore):
            raise
        except Exception as error:
            if is_refused_create(error):
                raise AlreadyExists(f"{self}/{path} exists already") from error
            if not is_from_storage(error) or (isinstance(error, FileNotFoundError) and verb not in _WRITES):
                raise
            raise StorageError(
                f"{what} was refused: {said(error).rstrip('.')}. Check that the "
                f"{'path is' if self.is_local else 'URI and the credentials are'} right, "
                "that it may be read and written, and that it has space left.",
                transient=False,
            ) from error

    def _unsafe(self, reason: str) -> UnusableStore:
        return UnusableStore(
            f"output={self}: {reason}, so that two drivers could mix their results. Use {safe_stores()}, or set "
            "single_driver=true if no other driver can run on this output."
        )

    def _refuses_second(self, path: str) -> bool:
        try:
            self.create(path, b"second")
        except AlreadyExists:
            return True
        return False


def _is_there(fs: fsspec.AbstractFileSystem, full: str) -> bool:
    """Whether there is an object. fsspec's `exists` says no while a store does not answer."""
    try:
        fs.info(full)
    except FileNotFoundError:
        return False
    return True
