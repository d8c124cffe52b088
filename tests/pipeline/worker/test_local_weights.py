"""Weights at a URI or of the Hub are fetched once for a machine; others are left to the loader."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import fsspec
import pytest
from filelock import FileLock
from huggingface_hub import constants

from pipeline.errors import ConfigError, StorageError
from pipeline.records import Weights
from pipeline.storage.retry import Backoff
from pipeline.worker.local_weights import local_weights
from pipeline.worker.weights_identity import content_hash, listing_identity
from tests.support.hub_server import COMMIT, HubServer, serve


def _at(source: str) -> Weights:
    """The weights that are at a URI now."""
    return Weights(source, None, listing_identity(source, {}, Backoff()))


def test_weights_at_a_uri_are_fetched_once_for_a_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    store = fsspec.filesystem("memory")
    store.pipe({"/weights/config.json": b"{}", "/weights/model.safetensors": b"one"})
    before = _at("memory://weights")
    first = Path(local_weights(before, {}))
    assert (first / "model.safetensors").read_bytes() == b"one"
    store.pipe("/weights/model.safetensors", b"two")
    assert Path(local_weights(before, {})) == first
    assert (first / "model.safetensors").read_bytes() == b"one"
    assert (Path(local_weights(_at("memory://weights"), {})) / "model.safetensors").read_bytes() == b"two"
    assert not [path for path in first.parent.iterdir() if path.is_dir() and "-" not in path.name]


@pytest.mark.parametrize("source", ["mini", "/weights"])
def test_other_weights_are_left_to_the_loader(source: str) -> None:
    assert local_weights(Weights(source, None, "sha256:0"), {}) == source


@pytest.mark.parametrize("at", ["memory://replaced", "folder", "file"])
def test_weights_that_were_replaced_since_the_job_looked_are_not_loaded(
    at: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As fine-tuning does that writes over its own weights: their names and sizes stay the same."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = f"{tmp_path}/weights" if "://" not in at else at
    store = fsspec.filesystem("memory" if "://" in at else "file")
    store.makedirs(folder, exist_ok=True)
    store.pipe({f"{folder}/config.json": b"{}", f"{folder}/model.safetensors": b"old"})
    source = f"{folder}/model.safetensors" if at == "file" else folder
    identity = listing_identity(source, {}, Backoff()) if "://" in at else content_hash(Path(source))
    store.pipe(f"{folder}/model.safetensors", b"new")
    with pytest.raises(ConfigError, match=f"checkpoint={source}: the files there have been replaced since this job"):
        local_weights(Weights(source, None, identity), {})
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_dir() and "-" in path.name]
    store.pipe(f"{folder}/model.safetensors", b"old")
    if "://" not in at:
        assert local_weights(Weights(source, None, identity), {}) == source


def test_what_killed_workers_have_left_is_removed_and_what_others_fetch_now_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that dies while it fetches leaves gigabytes, and the next one fetches into a folder of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    cache = tmp_path / "maskmill" / "checkpoints"
    fsspec.filesystem("memory").pipe({"/left/config.json": b"{}", "/left/model.safetensors": b"one"})
    weights = _at("memory://left")
    own, gone, locked, fresh = (f"{name.replace(':', '-')}.0123abcd" for name in (weights.identity, *_identities(3)))
    for name in (own, gone, locked, fresh):
        (cache / name).mkdir(parents=True)
        (cache / name / "model.safetensors").write_bytes(b"half")
        for path in (cache / name / "model.safetensors", cache / name):
            os.utime(path, (0, 0))
    (cache / fresh / "model.safetensors").write_bytes(b"a little more")
    with FileLock(cache / f"{locked.partition('.')[0]}.lock"):
        whole = Path(local_weights(weights, {}))
    assert {path.name for path in cache.iterdir() if path.is_dir()} == {whole.name, locked, fresh}
    assert (whole / "model.safetensors").read_bytes() == b"one"


def _identities(count: int) -> list[str]:
    return [f"listing:{number:032x}" for number in range(count)]


def test_a_file_uri_is_a_path() -> None:
    assert local_weights(Weights("file:///weights", None, "sha256:0"), {}) == "/weights"


def test_workers_that_start_at_once_wait_for_the_one_that_fetches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    fsspec.filesystem("memory").pipe({"/heavy/config.json": b"{}", "/heavy/model.safetensors": bytes(20 << 20)})
    heavy = _at("memory://heavy")
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: local_weights(heavy, {}), range(4)))
    assert len(set(found)) == 1
    assert (Path(found[0]) / "model.safetensors").stat().st_size == 20 << 20
    assert [path for path in Path(found[0]).parent.iterdir() if path.is_dir()] == [Path(found[0])]


def test_shards_are_fetched_and_nothing_that_the_model_is_not_loaded_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    names = ["config.json", "model.safetensors.index.json", *shards]
    store = fsspec.filesystem("memory")
    store.pipe({f"/sharded/{name}": b"x" for name in [*names, "optimizer.pt", "runs/events"]})
    folder = Path(local_weights(_at("memory://sharded"), {}))
    assert sorted(path.name for path in folder.iterdir()) == sorted(names)


def test_one_file_of_weights_is_fetched_with_the_config_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    store = fsspec.filesystem("memory")
    store.pipe({"/single/config.json": b"{}", "/single/mini.pt": b"weights", "/single/other.pt": b"other"})
    for _ in range(2):
        file = Path(local_weights(_at("memory://single/mini.pt"), {}))
        assert file.read_bytes() == b"weights"
        assert sorted(path.name for path in file.parent.iterdir()) == ["config.json", "mini.pt"]


class _WebServer(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


class _WebServerWithoutTimes(_WebServer):
    def send_header(self, keyword: str, value: str) -> None:
        if keyword != "Last-Modified":
            super().send_header(keyword, value)


class _WebServerWithoutListings(_WebServer):
    def list_directory(self, path: object) -> None:
        self.send_error(404)


@pytest.mark.parametrize(
    ("handler", "place"),
    [(_WebServer, ""), (_WebServerWithoutTimes, ""), (_WebServerWithoutListings, "/model.safetensors")],
)
def test_weights_at_two_addresses_of_a_web_server_are_told_apart(
    handler: type[_WebServer], place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights of one network have the same names and sizes, and a listing of a web server has names alone."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_bytes(b"{}")
        (tmp_path / name / "model.safetensors").write_bytes(name.encode())
    os.utime(tmp_path / "old" / "model.safetensors", (0, 0))
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(tmp_path))) as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        for name in ("old", "new"):
            found = Path(local_weights(_at(f"http://127.0.0.1:{server.server_port}/{name}{place}"), {}))
            folder = found.parent if place else found
            assert (folder / "config.json").read_bytes() == b"{}"
            assert (folder / "model.safetensors").read_bytes() == name.encode()
        server.shutdown()


@pytest.mark.parametrize("tag", ["blob_id", "modificationTime", "CRC", "last_write_time"])
def test_replaced_weights_are_seen_by_what_each_kind_of_store_says(tag: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = fsspec.filesystem("memory")
    store.pipe("/told/model.safetensors", b"one")
    found = []
    for value in (1, 2):
        facts = {"name": "/told/model.safetensors", "size": 3, tag: value}
        monkeypatch.setattr(type(store), "find", lambda *_, facts=facts, **__: {facts["name"]: facts})
        monkeypatch.setattr(type(store), "info", lambda *_, facts=facts, **__: facts)
        found.append(listing_identity("memory://told", {}, Backoff()))
    assert found[0] != found[1]


def test_the_cache_needs_no_home_where_it_has_a_place_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a container that runs as a user whom the system does not know."""

    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    fsspec.filesystem("memory").pipe({"/homeless/config.json": b"{}", "/homeless/model.safetensors": b"one"})
    assert Path(local_weights(_at("memory://homeless"), {})).is_relative_to(tmp_path)


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    fsspec.filesystem("memory").pipe({"/unkept/config.json": b"{}", "/unkept/model.safetensors": b"one"})
    with pytest.raises(ConfigError, match=r"cannot be kept in .*Not a directory.*set XDG_CACHE_HOME"):
        local_weights(_at("memory://unkept"), {})


def test_an_empty_place_of_the_cache_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.chdir(tmp_path)
    fsspec.filesystem("memory").pipe({"/unset/config.json": b"{}", "/unset/model.safetensors": b"one"})
    assert Path(local_weights(_at("memory://unset"), {})).is_relative_to(tmp_path / "home" / ".cache")


OF_THE_HUB = Weights("someone/model", COMMIT, COMMIT)
QUICK = Backoff(patience_seconds=20.0, first_seconds=0.01)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A Hub with one repository, and an empty cache."""
    files = {"config.json": b"{}", "model.safetensors": b"weights"}
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with serve(HubServer(OF_THE_HUB.source, COMMIT, files)) as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        template = server.url + constants.HUGGINGFACE_CO_URL_TEMPLATE.partition("huggingface.co")[2]
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        yield server


@pytest.mark.slow
def test_a_busy_hub_is_asked_again_and_once_for_all_workers_of_a_machine(hub: HubServer) -> None:
    hub.num_busy = 3
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: local_weights(OF_THE_HUB, {}, QUICK), range(8)))
    (folder,) = map(Path, found)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == hub.files
    asked = [path for path, _ in hub.requests]
    assert 3 < len(asked) < 3 + 10, "one worker has asked, and no other"
    local_weights(OF_THE_HUB, {}, QUICK)
    assert len(hub.requests) == len(asked), "what is there is not asked for again"


def test_a_repository_of_which_a_file_is_missing_is_fetched_again(hub: HubServer) -> None:
    folder = Path(local_weights(OF_THE_HUB, {}, QUICK))
    (folder / "model.safetensors").unlink()
    assert Path(local_weights(OF_THE_HUB, {}, QUICK)) == folder
    assert (folder / "model.safetensors").read_bytes() == b"weights"


@pytest.mark.slow  # the Hub's client waits by itself as well
def test_a_hub_that_stays_busy_is_no_fault_of_the_worker(hub: HubServer) -> None:
    hub.num_busy = 10**6
    with pytest.raises(
        StorageError, match=r"fetching model\.checkpoint=someone/model from the Hub failed .*429"
    ) as caught:
        local_weights(OF_THE_HUB, {}, Backoff(patience_seconds=0.3, first_seconds=0.05))
    assert caught.value.transient


def test_a_repository_that_is_not_there_is_not_asked_for_again(hub: HubServer) -> None:
    with pytest.raises(FileNotFoundError, match="no such repository on the Hub"):
        local_weights(Weights("someone/nothing", COMMIT, COMMIT), {}, QUICK)
