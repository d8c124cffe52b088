"""Weights at a URI are fetched once for a machine; others are left to the loader."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fsspec
import pytest

from pipeline.worker.local_weights import local_weights


def test_weights_at_a_uri_are_fetched_once_for_a_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    store = fsspec.filesystem("memory")
    store.pipe({"/weights/config.json": b"{}", "/weights/model.safetensors": b"one"})
    first = Path(local_weights("memory://weights", "listing:1", {}))
    assert (first / "model.safetensors").read_bytes() == b"one"
    store.pipe("/weights/model.safetensors", b"two")
    assert Path(local_weights("memory://weights", "listing:1", {})) == first
    assert (first / "model.safetensors").read_bytes() == b"one"
    assert (Path(local_weights("memory://weights", "listing:2", {})) / "model.safetensors").read_bytes() == b"two"
    assert not [path for path in first.parent.iterdir() if path.is_dir() and "-" not in path.name]


@pytest.mark.parametrize("source", ["mini", "/weights", "facebook/sam2.1-hiera-tiny"])
def test_other_weights_are_left_to_the_loader(source: str) -> None:
    assert local_weights(source, "sha256:0", {}) == source


def test_a_file_uri_is_a_path() -> None:
    assert local_weights("file:///weights", "sha256:0", {}) == "/weights"


def test_workers_that_start_at_once_wait_for_the_one_that_fetches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    fsspec.filesystem("memory").pipe({"/heavy/config.json": b"{}", "/heavy/model.safetensors": bytes(20 << 20)})
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: local_weights("memory://heavy", "listing:3", {}), range(4)))
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
    folder = Path(local_weights("memory://sharded", "listing:4", {}))
    assert sorted(path.name for path in folder.iterdir()) == sorted(names)


def test_one_file_of_weights_is_fetched_with_the_config_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    store = fsspec.filesystem("memory")
    store.pipe({"/single/config.json": b"{}", "/single/mini.pt": b"weights", "/single/other.pt": b"other"})
    for _ in range(2):
        file = Path(local_weights("memory://single/mini.pt", "listing:5", {}))
        assert file.read_bytes() == b"weights"
        assert sorted(path.name for path in file.parent.iterdir()) == ["config.json", "mini.pt"]
