"""The file or folder that `from=` or `truth=` names, on disk or in a store, as readers of formats see it."""

from __future__ import annotations

import contextlib
import io
import posixpath
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import BinaryIO, cast

from pipeline.errors import InputError
from pipeline.inputs.reading import ReadPolicy, read_input
from pipeline.redact import redact_uri
from pipeline.storage.listing import is_file
from pipeline.storage.ranges import BlockCache, RangeFile, remote_file
from pipeline.storage.schemes import Place, scheme_of
from pipeline.storage.uris import StorageOptions, absolute_uri, is_local, open_filesystem

_BLOCK_BYTES = 4 << 20
_FOLDERS_ABOVE = 4


class LabelFiles:
    """A file, or the files below a folder. `names` are their paths below it, sorted; of a file it is its own name.

    `key` is the key of the command that named it, for messages. With `among` only these files of a folder are looked
    for. Raises `InputError` if nothing is there, and `StorageError` if the store does not answer.
    """

    def __init__(
        self,
        uri: str,
        storage_options: StorageOptions | None = None,
        policy: ReadPolicy | None = None,
        key: str = "from",
        among: Sequence[str] | None = None,
    ) -> None:
        self.uri = uri
        self.key = key
        self.shown = redact_uri(uri)
        self.storage_options = storage_options
        self._policy = policy or ReadPolicy()
        look = self._look if among is None else partial(self._look_for, among)
        self.is_folder, self._root, self.names = read_input(key, uri, self._policy, look)

    def _look(self) -> tuple[bool, str, tuple[str, ...]]:
        filesystem, path = open_filesystem(self.uri, self.storage_options)
        path = path.rstrip("/") or path
        if is_file(filesystem, path):
            if path.lower().endswith((".zip", ".tar", ".gz", ".7z")):
                raise InputError(f"{self.key}: {self.shown} is an archive; unpack it, and name the folder")
            return False, posixpath.dirname(path), (posixpath.basename(path),)
        found = [str(name)[len(path) :].strip("/") for name in filesystem.find(path)]
        names = [name for name in found if not any(part.startswith(".") for part in name.split("/"))]
        if not names and filesystem.isdir(path):
            raise InputError(f"{self.key}: {self.shown} is a folder without files; check the path")
        if not names:
            raise FileNotFoundError(path)
        return True, path, tuple(sorted(names))

    def _look_for(self, among: Sequence[str]) -> tuple[bool, str, tuple[str, ...]]:
        filesystem, path = open_filesystem(self.uri, self.storage_options)
        return True, path, tuple(name for name in among if filesystem.exists(f"{path.rstrip('/')}/{name}"))

    def above(self, marks: Sequence[str], among: Sequence[str]) -> LabelFiles | None:
        """The nearest folder above, up to four, that holds one of the `marks`; of its files those that are `among`.

        None if there is none, and for a web server, which is not asked for what nobody named.
        """
        uri = absolute_uri(self.uri, str(Path.cwd())).rstrip("/")
        if scheme_of(uri).place is Place.WEB:
            return None
        for _ in range(_FOLDERS_ABOVE):
            uri = uri.rpartition("/")[0]
            if not uri or uri.endswith(("/", ":")):
                return None
            try:
                if LabelFiles(uri, self.storage_options, self._policy, self.key, marks).names:
                    return LabelFiles(uri, self.storage_options, self._policy, self.key, among)
            except InputError:  # what nobody named need not be readable
                return None
        return None

    def ending_in(self, *suffixes: str) -> list[str]:
        """The names with one of these endings, in small letters or large ones."""
        return [name for name in self.names if name.lower().endswith(suffixes)]

    def shown_name(self, name: str) -> str:
        """A file in messages."""
        return f"{self.shown.rstrip('/')}/{name}" if self.is_folder else self.shown

    @contextlib.contextmanager
    def open(self, name: str) -> Iterator[BinaryIO]:
        """A file, read from its start on. A store that does not answer is asked again for a while."""
        filesystem, _ = open_filesystem(self.uri, self.storage_options)
        path = posixpath.join(self._root, name)
        shown = self.shown_name(name)
        if is_local(self.uri):
            with read_input(self.key, shown, self._policy, partial(filesystem.open, path, "rb")) as file:
                yield cast(BinaryIO, file)
            return
        num_bytes, fetch = read_input(self.key, shown, self._policy, partial(remote_file, filesystem, path))
        if num_bytes is None:
            yield io.BytesIO(read_input(self.key, shown, self._policy, partial(filesystem.cat_file, path)))
            return

        def fetch_patiently(start: int, stop: int) -> bytes:
            return read_input(self.key, shown, self._policy, partial(fetch, start, stop))

        cache = BlockCache(fetch_patiently, num_bytes, block_bytes=_BLOCK_BYTES, max_blocks=2, reads_ahead=True)
        with RangeFile(cache) as file:
            yield cast(BinaryIO, io.BufferedReader(file))

    def read(self, name: str) -> bytes:
        """A whole file."""
        with self.open(name) as file:
            return file.read()

    def fault(self, name: str, what: str) -> InputError:
        """An error about a file or, with the entry in `name`, about a part of it."""
        return InputError(f"{self.shown_name(name)}: {what}")
