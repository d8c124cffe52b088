"""The bytes of one video: a file, an object in storage, a row of a table, a member of a tar, or a folder of images.

FFmpeg never gets a name, only files that are opened here, so that it can read nothing but what the table names.
"""

from __future__ import annotations

import errno
import io
import stat
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from model import IMAGE_SUFFIXES, Media, MediaError, OpenFile, image_names
from pipeline.errors import TableChanged
from pipeline.records import WorkItem
from pipeline.redact import redact, redact_uri
from pipeline.storage.addresses import DEFAULT_RULES, AddressRules, RefusedAddress
from pipeline.storage.checked import open_checked
from pipeline.storage.faults import has_expired, http_status, is_transient, problem_of_redirection, web_cause
from pipeline.storage.file_versions import FileVersion, version_of, version_on_disk
from pipeline.storage.links import dangling_link, of_dangling_link
from pipeline.storage.parquet import Columns, PlainColumns, RowReader
from pipeline.storage.ranges import BlockCache, Fetch, RangeFile, remote_file
from pipeline.storage.retry import Backoff
from pipeline.storage.tars import Member, files_in_folder, member_name, tar_index
from pipeline.storage.uris import StorageOptions, forget_sessions, is_local, local_path, split_tar_member

_HEADER_BLOCK_BYTES = 64 << 10  # small, because the headers of a tar's members lie far apart

BYTE_COLUMNS = ("video_id", "bytes")
"""What is read of a row that holds the bytes of a video."""


def video_byte_rows(columns: Columns | None = None) -> RowReader:
    """A reader of the rows that hold the bytes of videos. It keeps 1 file open, a remote one with 32 MiB in memory.

    `columns` finds `BYTE_COLUMNS` in tables that call them otherwise.
    """
    return RowReader(columns or PlainColumns(*BYTE_COLUMNS), batch_rows=1, max_cursors=1, block_bytes=2 << 20)


@contextmanager
def open_media(
    item: WorkItem,
    storage_options: StorageOptions | None = None,
    rows: RowReader | None = None,
    backoff: Backoff | None = None,
    scratch: Path | None = None,
    rules: AddressRules = DEFAULT_RULES,
) -> Iterator[Media]:
    """The bytes of an item's video, until the context ends.

    Args:
        item: the video: its `uri`, or the address of the row that holds its bytes.
        storage_options: those of the job.
        rows: for bytes in a row, the reader to use, from `video_byte_rows`. It keeps its place in the table, so that
            the next video's row is found without starting over. Left out, the table is opened for this video alone.
        backoff: how long to go on trying while storage does not answer.
        scratch: a folder on local disk, for a file whose server has no ranges. Left out, the system's temporary one.

        rules: which addresses the job's tables may name.

    Raises:
        MediaError: there is no such file, member or image, or it may not be read. Of an address that the rules refuse
            it does not say whether anything is there.
        TableChanged: the row with the bytes is gone or is another video's.
        StorageError: storage did not answer in time, which is not the video's fault.
    """
    name = redact_uri(item.source.uri) if item.source.uri is not None else f"bytes of video {item.video_id!r}"
    with tempfile.TemporaryDirectory(prefix="maskmill-media-", dir=scratch) as spool:
        try:
            if item.source.uri is not None:
                rules.check(item.source.uri)
            storage = _Storage(name, _Access(storage_options, rules), Path(spool), backoff or Backoff())
            media = _locate(item, name, storage, rows)
        except Exception as error:
            reason = _fault_of_the_name(error)
            if reason is None:
                raise
            raise MediaError(f"{name}: {reason}") from error
        yield media


def _locate(item: WorkItem, name: str, storage: _Storage, rows: RowReader | None) -> Media:
    media = _opened(item, name, storage, rows)
    version = storage.version
    return media if version is None else replace(media, num_bytes=version.num_bytes, version=version.version)


def _opened(item: WorkItem, name: str, storage: _Storage, rows: RowReader | None) -> Media:
    if item.source.uri is None:
        return Media(name, (partial(io.BytesIO, _row_bytes(item, name, storage.options, rows)),))
    parts = split_tar_member(item.source.uri)
    if parts is not None:
        found = storage.tar_member(*parts)
        if isinstance(found, dict):
            return Media(name, tuple(found.values()), is_folder=True, file_names=tuple(found))
        return Media(name, (found,))
    listing = storage.images(item.source.uri)
    if listing is not None:
        if not listing:
            raise MediaError(f"{name}: the folder holds no images ({', '.join(IMAGE_SUFFIXES)})")
        names = tuple(redact_uri(image).rpartition("/")[2] for image in listing)
        return Media(name, tuple(listing.values()), is_folder=True, file_names=names)
    return Media(name, (storage.file(item.source.uri),))


def _row_bytes(item: WorkItem, name: str, options: StorageOptions | None, rows: RowReader | None) -> bytes:
    data: bytes | None = None
    if item.source.bytes_at is not None:
        with video_byte_rows() if rows is None else nullcontext(rows) as reader:
            (row,) = reader.read(item.source.bytes_at, options).to_pylist()
        if row.get("video_id") != item.video_id:
            raise TableChanged(item.source.bytes_at.file, f"the row of {item.video_id!r} is another's")
        data = row.get("bytes")
    if not data:
        raise MediaError(f"{name}: the row has neither uri nor bytes; give one of them")
    return data


@dataclass(frozen=True)
class _Access:
    """How files are opened: with which options, and by which rules."""

    options: StorageOptions | None
    rules: AddressRules


class _Storage:
    """Opens files for one video. `spool` is a folder on local disk that exists as long as the media is open.

    `version` is that of the file, or of the archive, that was opened last, where its store tells it.
    """

    def __init__(self, name: str, access: _Access, spool: Path, backoff: Backoff) -> None:
        self.options = access.options
        self._rules = access.rules
        self.version: FileVersion | None = None
        self._filesystem: Any = None
        self._told: dict[str, Mapping[str, Any]] = {}
        self._name = name
        self._spool = spool
        self._backoff = backoff

    def file(self, uri: str) -> OpenFile:
        """A file by URI. A remote one is read by ranges, or downloaded if its server knows no ranges."""
        if is_local(uri):
            path = Path(local_path(uri))
            if not stat.S_ISREG(path.stat().st_mode):
                raise MediaError(f"{self._name}: is neither a file nor a folder")
            self.version = version_on_disk(path)
            return partial(io.FileIO, path)
        num_bytes, fetch = self._remote(uri)
        if num_bytes is None:
            return partial(io.FileIO, self._download(uri))
        return partial(_open_range, BlockCache(fetch, num_bytes, reads_ahead=True))

    def images(self, uri: str) -> dict[str, OpenFile] | None:
        """The images of a folder by name, in natural order of their names, or `None` if `uri` is no folder."""
        if is_local(uri):
            folder = Path(local_path(uri))
            if not folder.is_dir():
                return None
            paths = {path.name: path for path in folder.iterdir() if path.is_file() or path.is_symlink()}
            names = [name for name in image_names(list(paths)) if not paths[name].is_dir()]
            return {name: partial(_open_image, folder / name) for name in names}
        filesystem, path = self._open(uri)
        if not uri.endswith("/") and self._info(filesystem, path)["type"] != "directory":
            return None
        entries = self._call(filesystem.ls, path, detail=True)
        files = [entry["name"] for entry in entries if entry["type"] == "file"]
        # The listing of a web server is a page with links, and a link with `..` may lead out of the folder.
        names = image_names([name for name in files if ".." not in unquote(name).split("/")])
        return {name: partial(self._image, filesystem, name) for name in names}

    def tar_member(self, archive: str, name: str) -> OpenFile | dict[str, OpenFile]:
        """A member of an archive by byte range; the images by name if `name` is a folder of the archive."""
        num_bytes, fetch = self._remote(archive)
        if num_bytes is None:
            path = self._download(archive)
            num_bytes, fetch = path.stat().st_size, partial(_read_range, path)
        headers = BlockCache(fetch, num_bytes, block_bytes=_HEADER_BLOCK_BYTES, max_blocks=4)
        try:
            version = "" if self.version is None else self.version.version
            index = tar_index(archive, num_bytes, partial(_open_range, headers), version)
        except tarfile.TarError as error:
            raise MediaError(
                f"{redact_uri(archive)}: cannot be read as an uncompressed tar ({error}); unpack or repair it"
            ) from error
        member = index.get(member_name(name))
        inside = {} if member is not None and not member.problem else files_in_folder(index, name)
        if images := image_names(list(inside)):
            return {image: self._open_member(archive, image, inside[image], fetch) for image in images}
        if member is None:
            raise MediaError(f"{redact_uri(archive)}: has no member {name!r}")
        return self._open_member(archive, name, member, fetch)

    def _open_member(self, archive: str, name: str, member: Member, fetch: Fetch) -> OpenFile:
        if member.problem:
            raise MediaError(f"{redact_uri(archive)}: member {name!r} {member.problem}; store the file itself")
        first = member.offset
        cache = BlockCache(lambda start, stop: fetch(first + start, first + stop), member.num_bytes, reads_ahead=True)
        return partial(_open_range, cache)

    def _remote(self, uri: str) -> tuple[int | None, Fetch]:
        """Size of a file and a reader of its ranges. A size of `None` means that the file must be downloaded."""
        filesystem, path = self._open(uri)
        if is_local(uri):
            self.version = version_on_disk(path)
            return Path(path).stat().st_size, partial(_read_range, Path(path))
        info = self._info(filesystem, path)
        self.version = version_of(info)
        num_bytes, fetch = self._call(remote_file, filesystem, path, info)
        return num_bytes, partial(self._call, fetch)

    def _info(self, filesystem: Any, path: str) -> Mapping[str, Any]:
        """What a store says of a file; it is asked once."""
        if path not in self._told:
            self._told[path] = self._call(filesystem.info, path)
        return self._told[path]

    def _image(self, filesystem: Any, path: str) -> io.BytesIO:
        return io.BytesIO(self._call(filesystem.cat_file, path))

    def _download(self, uri: str) -> Path:
        filesystem, path = self._open(uri)
        target = self._spool / "download"
        self._call(filesystem.get_file, path, str(target))
        return target

    def _open(self, uri: str) -> tuple[Any, str]:
        self._filesystem, path = open_checked(uri, self.options, self._rules)
        return self._filesystem, path

    def _call(self, function: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
        def attempt() -> Any:
            try:
                return function(*arguments, **keywords)
            except Exception as error:
                if has_expired(error) and self._filesystem is not None:
                    forget_sessions(self._filesystem)  # this video is given back, and its next attempt has others
                raise

        return self._backoff.run(f"reading {self._name}", attempt)


def _open_range(cache: BlockCache) -> io.BufferedReader:
    return io.BufferedReader(RangeFile(cache))


def _open_image(path: Path) -> io.FileIO:
    """An image of a folder. Of a link to nothing the frame cannot be read, and those after it keep their numbers."""
    try:
        return io.FileIO(path)
    except FileNotFoundError:
        if told := of_dangling_link(path):
            raise MediaError(told) from None
        raise


def _read_range(path: Path, start: int, stop: int) -> bytes:
    with path.open("rb") as file:
        file.seek(start)
        return file.read(stop - start)


def _fault_of_the_name(error: Exception) -> str | None:
    """What is wrong with the URI or its file, in words; `None` if the error is not the video's fault."""
    if isinstance(error, (MediaError, TableChanged)) or is_transient(error):
        return None
    given, error = error, web_cause(error)
    if problem := problem_of_redirection(error):
        return f"{problem}; check the uri"
    if isinstance(error, RefusedAddress):
        return str(error)
    if isinstance(error, FileNotFoundError) and (told := dangling_link(error)):
        return told
    if isinstance(error, FileNotFoundError) or http_status(error) == 404:
        return "there is no such file; check the uri (a relative one counts from the table's folder)"
    if http_status(error) == 403 and isinstance(given, FileNotFoundError):  # from a web server
        return "may not be read; check its permissions, and whether its address was signed for a time that is over"
    if isinstance(error, PermissionError) or http_status(error) == 403:
        return "may not be read; check its permissions or storage_options"
    status = http_status(error)
    if status is not None and 300 <= status < 500:  # a redirection that could be followed does not come here
        return f"the server refuses it (HTTP {status}); check the uri"
    if isinstance(error, (IsADirectoryError, NotADirectoryError, ValueError, zipfile.BadZipFile)) or _bad_name(error):
        return f"is not a uri that can be read ({redact(str(error))})"
    return None


def _bad_name(error: Exception) -> bool:
    return isinstance(error, OSError) and error.errno in (errno.ENAMETOOLONG, errno.EINVAL, errno.ELOOP)
