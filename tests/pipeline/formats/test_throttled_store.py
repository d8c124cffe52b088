"""A store that throttles at the first question is asked again, and not taken for one without the file."""

from __future__ import annotations

import fsspec
import pytest
from fsspec.spec import AbstractFileSystem

from pipeline.formats.label_files import LabelFiles
from pipeline.inputs.reading import ReadPolicy
from pipeline.output.layout import LOG
from pipeline.quality.sources import is_read_directly
from pipeline.storage.retry import Backoff
from pipeline.worker.local_weights import _files
from tests.support.faulty_store import FaultyStore, Request, faulty_store

__all__ = ["faulty_store"]  # pytest finds the fixture in this module


def throttle(times: int) -> None:
    """The next questions for a file are answered "slow down"."""
    left = [times]

    def before(request: Request) -> None:
        if request[0] == "info" and left[0]:
            left[0] -= 1
            raise TimeoutError("SlowDown")

    FaultyStore.before = staticmethod(before)


@pytest.fixture
def store(faulty_store: type[FaultyStore], monkeypatch: pytest.MonkeyPatch) -> AbstractFileSystem:
    """A store that says whether a file is there as those of fsspec do, which ask for it."""
    monkeypatch.setattr(FaultyStore, "isfile", AbstractFileSystem.isfile)
    monkeypatch.setattr(FaultyStore, "exists", lambda self, path: bool(self.info(path)))
    return fsspec.filesystem("faulty")


def test_a_file_of_labels_is_no_folder_while_the_store_throttles(store: AbstractFileSystem) -> None:
    store.pipe_file("/labels/boxes.csv", b"video,frame\n")
    throttle(2)
    files = LabelFiles("faulty://labels/boxes.csv", policy=ReadPolicy(backoff=Backoff(first_seconds=0.001)))
    assert (files.is_folder, files.names) == (False, ("boxes.csv",))


def test_a_file_of_weights_is_no_folder_while_the_store_throttles(store: AbstractFileSystem) -> None:
    store.pipe_file("/weights/model.safetensors", b"")
    throttle(1)
    with pytest.raises(TimeoutError):  # the caller asks again
        _files(store, "/weights/model.safetensors")
    assert _files(store, "/weights/model.safetensors") == ("/weights", ["model.safetensors"])


@pytest.mark.slow
def test_the_output_of_a_job_is_one_while_the_store_throttles(store: AbstractFileSystem) -> None:
    store.pipe_file(f"/job/{LOG}", b"")
    throttle(1)
    assert is_read_directly("faulty://job", "auto", None)
