"""Which weights a checkpoint name means."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import fsspec
import pytest
from botocore.exceptions import NoCredentialsError
from fsspec.implementations.memory import MemoryFileSystem
from huggingface_hub import HfApi, constants

import model
from pipeline.commits.job_record import make_record
from pipeline.config.compose import job_config
from pipeline.config.job_config import JobConfig
from pipeline.driver.weights import resolve_weights
from pipeline.errors import ConfigError, StorageError
from pipeline.storage.retry import Backoff
from tests.support.hub_server import silent_hub

MINI = Path(model.__file__).parent / "checkpoints" / "sam2.1-mini"


def config(*overrides: str) -> JobConfig:
    return job_config("label", ["prompts=p.parquet", "output=out", *overrides])


def test_the_bundled_checkpoint_and_a_copy_of_it_are_the_same(tmp_path: Path) -> None:
    shutil.copytree(MINI, tmp_path / "copy")
    bundled = resolve_weights(config(), None)
    copied = resolve_weights(config(f"model.checkpoint={tmp_path / 'copy'}"), None)
    assert bundled.source == "mini"
    assert copied.source == str(tmp_path / "copy")
    assert bundled.identity == copied.identity


@pytest.mark.parametrize("place", ["mini", str(MINI), "memory://weights"])
def test_a_revision_of_weights_that_are_no_repository_of_the_hub_is_refused(place: str) -> None:
    """It was ignored: a job that was to have the weights of before had those of now."""
    fsspec.filesystem("memory").pipe("/weights/config.json", b"{}")
    fsspec.filesystem("memory").pipe("/weights/model.safetensors", b"")
    with pytest.raises(ConfigError, match=r"model\.revision=v2 is for a repository of the Hub .*leave it out"):
        resolve_weights(config(f"model.checkpoint={place}", "model.revision=v2"), None)


def test_other_weights_under_the_same_name_are_noticed(tmp_path: Path) -> None:
    folder = tmp_path / "weights"
    shutil.copytree(MINI, folder)
    asked = config(f"model.checkpoint={folder}")
    before = resolve_weights(asked, None)
    record = make_record(asked, before)
    assert resolve_weights(asked, record) == before
    (folder / "config.json").write_text("{}")
    assert resolve_weights(asked, record).identity != before.identity


def test_files_that_have_not_changed_are_not_read_again(tmp_path: Path) -> None:
    """Other content of the same size and time would be noticed by whoever reads it."""
    config_file = tmp_path / "weights" / "config.json"
    shutil.copytree(MINI, config_file.parent)
    asked = config(f"model.checkpoint={config_file.parent}")
    before = resolve_weights(asked, None)
    times = config_file.stat()
    config_file.write_bytes(b" " * times.st_size)
    os.utime(config_file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert resolve_weights(asked, make_record(asked, before)).identity == before.identity
    assert resolve_weights(asked, None).identity != before.identity


def test_a_checkpoint_at_a_uri_is_known_by_what_its_store_says() -> None:
    files = fsspec.filesystem("memory")
    files.pipe({"/weights/config.json": b"{}", "/weights/model.safetensors": b"1"})
    asked = config("model.checkpoint=memory://weights")
    first = resolve_weights(asked, None)
    files.pipe("/weights/model.safetensors", b"22")
    assert first.identity.startswith("listing:")
    assert resolve_weights(asked, None).identity != first.identity


@pytest.mark.parametrize(
    ("checkpoint", "said"),
    [
        ("/no/such/folder", "no such file or folder; give mini, a file, a folder"),
        ("~a-user-whom-nobody-knows/weights", "no such file or folder; give mini, a file, a folder"),
        ("minni", "no such file or folder; give mini, a file, a folder"),
        ("memory://nothing-here", "there is nothing"),
        ("someone/not-in-the-cache", "neither the Hub nor its cache on this machine has it"),
    ],
)
def test_a_checkpoint_that_is_not_there_is_named(checkpoint: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve_weights(config(f"model.checkpoint={checkpoint}"), None)
    assert said in str(caught.value)
    assert checkpoint in str(caught.value)


class AwkwardStore(MemoryFileSystem):  # type: ignore[misc]  # fsspec ships no types
    """A store of checkpoints whose listings fail, as often as there are errors."""

    protocol = "awkward"
    errors: ClassVar[list[Exception]] = []

    def find(self, path: str, **_: object) -> dict[str, Any]:
        if self.errors:
            raise self.errors.pop()
        return {f"{path}/config.json": {"size": 2, "ETag": "1"}}


IMPATIENT = Backoff(patience_seconds=0.05, first_seconds=0.001)


@pytest.fixture
def store() -> type[AwkwardStore]:
    fsspec.register_implementation("awkward", AwkwardStore, clobber=True)
    return AwkwardStore


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (NoCredentialsError(), "Unable to locate credentials"),
        (PermissionError("Forbidden:\n https://h/w?X-Amz-Signature=hush"), "Forbidden"),
        (ValueError("simplecache:// may lead to other files"), "may lead to other files"),
    ],
)
def test_what_the_store_of_a_checkpoint_refuses_is_one_line_without_secrets(
    error: Exception, said: str, store: type[AwkwardStore]
) -> None:
    store.errors = [error]
    with pytest.raises(ConfigError) as caught:
        resolve_weights(config("model.checkpoint=awkward://k:hush@h/weights"), None, IMPATIENT)
    assert said in str(caught.value)
    assert "model.checkpoint=awkward://***@h/weights cannot be listed" in str(caught.value)
    assert not {"hush", "\n"} & set(str(caught.value).split(" "))
    assert "hush" not in str(caught.value)


def test_a_store_of_a_checkpoint_that_is_busy_for_a_moment_is_asked_again(store: type[AwkwardStore]) -> None:
    store.errors = [TimeoutError("503 Slow Down")]
    assert resolve_weights(config("model.checkpoint=awkward://weights"), None, IMPATIENT).identity.startswith(
        "listing:"
    )
    store.errors = [TimeoutError("503 Slow Down") for _ in range(1000)]
    with pytest.raises(StorageError, match=r"listing model.checkpoint=awkward://weights failed \d+ times"):
        resolve_weights(config("model.checkpoint=awkward://weights"), None, IMPATIENT)


def test_an_empty_folder_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"holds neither config\.json nor weights"):
        resolve_weights(config(f"model.checkpoint={tmp_path}"), None)


class OneCommit:
    """The Hub, which knows one commit and counts how often it is asked."""

    num_asked = 0

    def model_info(self, repo_id: str, *, revision: str | None, timeout: float | None) -> object:
        self.num_asked += 1
        return SimpleNamespace(sha="c" * 40)


def test_a_hub_id_is_resolved_to_a_commit_once() -> None:
    hub, asked = OneCommit(), config("model=tiny")
    first = resolve_weights(asked, None, hub=hub)
    assert (first.source, first.revision, first.identity) == ("facebook/sam2.1-hiera-tiny", "c" * 40, "c" * 40)
    assert resolve_weights(asked, make_record(asked, first), hub=hub) == first
    assert hub.num_asked == 1
    other = config("model=tiny", "model.revision=v2")
    resolve_weights(other, make_record(asked, first), hub=hub)
    assert hub.num_asked == 2


class TransportError(Exception):
    """The base of all errors of the network in the HTTP library of the Hub's client. It is no `OSError`."""


class ConnectError(TransportError):
    """What the Hub's client raises without a network."""


class HubOutOfReach:
    """The Hub from a machine without a network."""

    num_asked = 0

    def model_info(self, repo_id: str, *, revision: str | None, timeout: float | None) -> object:
        self.num_asked += 1
        raise ConnectError("[Errno -2] Name or service not known")


@pytest.mark.parametrize("revision", ["main", "v2"])
def test_without_a_network_the_cache_says_which_commit_a_hub_id_means(
    revision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    asked = config("model=tiny", f"model.revision={revision}")
    with pytest.raises(
        StorageError, match=r"asking the Hub for .*Name or service not known.* give model\.checkpoint a local"
    ):
        resolve_weights(asked, None, IMPATIENT, hub=HubOutOfReach())
    refs = tmp_path / "models--facebook--sam2.1-hiera-tiny" / "refs"
    refs.mkdir(parents=True)
    (refs / revision).write_text("d" * 40)
    assert resolve_weights(asked, None, hub=HubOutOfReach()).identity == "d" * 40, "at once, however patient"


def test_a_cache_of_the_hub_that_this_user_may_not_enter_is_an_empty_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`HF_HOME` of another user; a file in the place of a folder is looked at in vain too, by whichever user."""
    (tmp_path / "file").touch()
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "file"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with pytest.raises(StorageError, match=r"Name or service not known"):
        resolve_weights(config("model=tiny"), None, IMPATIENT, hub=HubOutOfReach())
    refused = PermissionError(13, "Permission denied")
    monkeypatch.setattr(Path, "stat", lambda *_, **__: (_ for _ in ()).throw(refused))
    with pytest.raises(StorageError, match=r"Name or service not known"):
        resolve_weights(config("model=tiny"), None, IMPATIENT, hub=HubOutOfReach())


def test_a_hub_that_gives_no_answer_is_given_up_soon_however_patient_a_job_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    patient = Backoff(patience_seconds=60.0, first_seconds=1000.0)
    with pytest.raises(StorageError, match=r"1 times within 10 s.*local folder.* set HF_HUB_OFFLINE=1\."):
        resolve_weights(config("model=tiny"), None, patient, hub=HubOutOfReach())


class BusyHub(OneCommit):
    """The Hub, which is busy once."""

    def model_info(self, repo_id: str, *, revision: str | None, timeout: float | None) -> object:
        found = super().model_info(repo_id, revision=revision, timeout=timeout)
        if self.num_asked == 1:
            error = OSError("429 Client Error")
            error.response = SimpleNamespace(status_code=429)  # type: ignore[attr-defined]
            raise error
        return found


def test_a_busy_hub_is_waited_for_as_long_as_a_job_is_patient(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    hub, patient = BusyHub(), Backoff(patience_seconds=60.0, first_seconds=1000.0)
    assert resolve_weights(config("model=tiny"), None, patient, hub=hub).identity == "c" * 40
    assert hub.num_asked == 2


@pytest.mark.slow
@pytest.mark.parametrize("is_cached", [False, True])
def test_a_hub_that_takes_the_question_and_is_silent_does_not_hold_a_job(
    is_cached: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr("pipeline.driver.weights.hub_answer_seconds", lambda *, is_cached: 0.1)
    asked = config("model=tiny")
    with silent_hub() as url:
        if is_cached:
            refs = tmp_path / "models--facebook--sam2.1-hiera-tiny" / "refs"
            refs.mkdir(parents=True)
            (refs / "main").write_text("d" * 40)
            assert resolve_weights(asked, None, IMPATIENT, hub=HfApi(url)).identity == "d" * 40
            return
        with pytest.raises(StorageError, match=r"ReadTimeout.* give model\.checkpoint a local folder"):
            resolve_weights(asked, None, IMPATIENT, hub=HfApi(url))


class NothingFound:
    """The Hub, which does not know a repository."""

    def model_info(self, repo_id: str, *, revision: str | None, timeout: float | None) -> object:
        raise FileNotFoundError("404")


def test_a_repository_that_the_hub_does_not_have_is_a_mistake_and_no_fault_of_the_network() -> None:
    with pytest.raises(ConfigError, match=r"neither the Hub nor its cache on this machine has it \(404\)"):
        resolve_weights(config("model.checkpoint=someone/nothing"), None, hub=NothingFound())


def test_offline_means_the_cache_and_no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    hub = HubOutOfReach()
    with pytest.raises(ConfigError, match="neither the Hub nor its cache"):
        resolve_weights(config("model.checkpoint=someone/nothing"), None, hub=hub)
    assert hub.num_asked <= 1, "a second time would come after a pause"


def test_a_commit_is_taken_as_it_is() -> None:
    hub = OneCommit()
    assert resolve_weights(config("model=tiny", f"model.revision={'a' * 40}"), None, hub=hub).identity == "a" * 40
    assert hub.num_asked == 0
