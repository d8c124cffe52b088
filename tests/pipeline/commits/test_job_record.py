"""What a job is compared by, and which weights a checkpoint name means."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import huggingface_hub
import pytest
from botocore.exceptions import NoCredentialsError
from fsspec.implementations.memory import MemoryFileSystem
from huggingface_hub import constants

import model
from pipeline.commits import job_record as fingerprint
from pipeline.commits.job_record import config_hash, difference, make_record, read_record, write_record
from pipeline.config.compose import job_config
from pipeline.config.job_config import JobConfig
from pipeline.driver import weights
from pipeline.driver.weights import resolve_checkpoint
from pipeline.errors import ConfigError, NewerVersion, StorageError
from pipeline.records import Weights
from pipeline.storage.job_storage import JobStorage
from pipeline.storage.retry import Backoff

MINI = Path(model.__file__).parent / "checkpoints" / "sam2.1-mini"


def config(*overrides: str) -> JobConfig:
    return job_config("label", ["prompts=p.parquet", "output=out", *overrides])


def values(*overrides: str) -> dict[str, Any]:
    return fingerprint.fingerprint(config(*overrides), Weights("mini", None, "sha256:0"))


@pytest.mark.parametrize(
    "override",
    [
        "model.dtype=bfloat16",
        "model.dtype=autocast",
        "propagate.direction=both",
        "propagate.max_prompted_memories=3",
        "frames.stride=2",
        "frames.fps=5",
    ],
)
def test_an_option_that_changes_masks_changes_the_fingerprint(override: str) -> None:
    shown = difference(values(), values(override))
    key, _, value = override.partition("=")
    assert key in shown
    assert f"{value} now" in shown or f"{value}.0 now" in shown
    assert config_hash(values()) != config_hash(values(override))


@pytest.mark.parametrize(
    "override",
    [
        "cluster=serial",
        "cluster.actors=7",
        "flush.seconds=1",
        "videos=other.parquet",
        "model.device=cpu",
        "model.compile=true",
        "retry=failed",
    ],
)
def test_an_option_that_does_not_is_left_out(override: str) -> None:
    assert difference(values(), values(override)) == ""


def test_the_record_survives_storage_and_holds_no_secret(disk_storage: JobStorage) -> None:
    asked = config("storage_options.secret=hush", "videos=https://h/v.parquet?X-Amz-Signature=hush")
    record = make_record(asked, Weights("s3://k:hush@h/weights?sig=hush", None, "listing:1"))
    write_record(disk_storage, record)
    assert read_record(disk_storage) == record
    assert b"hush" not in disk_storage.read("job.json")
    assert json.loads(disk_storage.read("job.json"))["config"]["model"]["name"] == "mini"


def test_a_new_job_has_no_record(disk_storage: JobStorage) -> None:
    assert read_record(disk_storage) is None


@pytest.mark.parametrize("content", [b"", b"[]", b'{"mine": 1}', b"\xff"])
def test_a_strange_job_json_is_refused(content: bytes, disk_storage: JobStorage) -> None:
    disk_storage.replace("job.json", content)
    with pytest.raises(ConfigError, match=r"job\.json is not one of maskmill's"):
        read_record(disk_storage)


def test_a_job_json_of_a_later_program_is_read_unless_its_version_is_newer(disk_storage: JobStorage) -> None:
    record = make_record(config(), Weights("mini", None, "sha256:0"))
    write_record(disk_storage, record)
    document = json.loads(disk_storage.read("job.json"))
    assert set(document) == {
        *("version", "fingerprint", "config", "checkpoint", "files", "versions", "written_at"),
    }
    disk_storage.replace("job.json", json.dumps(document | {"notes": "of later"}).encode())
    assert read_record(disk_storage) == record
    del document["version"]
    disk_storage.replace("job.json", json.dumps(document).encode())
    assert read_record(disk_storage) == record, "programs before versions were written"
    disk_storage.replace("job.json", json.dumps(document | {"version": 2}).encode())
    with pytest.raises(NewerVersion, match=r"job\.json was written by a newer maskmill, in version 2; .* up to 1\."):
        read_record(disk_storage)


def test_the_bundled_checkpoint_and_a_copy_of_it_are_the_same(tmp_path: Path) -> None:
    shutil.copytree(MINI, tmp_path / "copy")
    bundled = resolve_checkpoint(config(), None)
    copied = resolve_checkpoint(config(f"model.checkpoint={tmp_path / 'copy'}"), None)
    assert bundled.source == "mini"
    assert copied.source == str(tmp_path / "copy")
    assert bundled.identity == copied.identity


def test_other_weights_under_the_same_name_are_noticed(tmp_path: Path) -> None:
    folder = tmp_path / "weights"
    shutil.copytree(MINI, folder)
    asked = config(f"model.checkpoint={folder}")
    before = resolve_checkpoint(asked, None)
    record = make_record(asked, before)
    assert resolve_checkpoint(asked, record) == before
    (folder / "config.json").write_text("{}")
    assert resolve_checkpoint(asked, record).identity != before.identity


def test_known_files_are_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(MINI, tmp_path / "weights")
    asked = config(f"model.checkpoint={tmp_path / 'weights'}")
    record = make_record(asked, resolve_checkpoint(asked, None))
    monkeypatch.setattr(weights, "_content_hash", lambda path: pytest.fail("read again"))
    resolve_checkpoint(asked, record)


def test_a_checkpoint_at_a_uri_is_known_by_what_its_store_says() -> None:
    files = fsspec.filesystem("memory")
    files.pipe({"/weights/config.json": b"{}", "/weights/model.safetensors": b"1"})
    asked = config("model.checkpoint=memory://weights")
    first = resolve_checkpoint(asked, None)
    files.pipe("/weights/model.safetensors", b"22")
    assert first.identity.startswith("listing:")
    assert resolve_checkpoint(asked, None).identity != first.identity


@pytest.mark.parametrize(
    ("checkpoint", "said"),
    [
        ("/no/such/folder", "no such folder; give mini, a folder"),
        ("minni", "no such folder; give mini, a folder"),
        ("memory://nothing-here", "there is nothing"),
        ("someone/not-in-the-cache", "neither the Hub nor its cache on this machine has it"),
    ],
)
def test_a_checkpoint_that_is_not_there_is_named(checkpoint: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve_checkpoint(config(f"model.checkpoint={checkpoint}"), None)
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


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> type[AwkwardStore]:
    fsspec.register_implementation("awkward", AwkwardStore, clobber=True)
    monkeypatch.setattr(weights, "Backoff", lambda: Backoff(patience_seconds=0.05, first_seconds=0.001))
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
        resolve_checkpoint(config("model.checkpoint=awkward://k:hush@h/weights"), None)
    assert said in str(caught.value)
    assert "model.checkpoint=awkward://***@h/weights cannot be listed" in str(caught.value)
    assert not {"hush", "\n"} & set(str(caught.value).split(" "))
    assert "hush" not in str(caught.value)


def test_a_store_of_a_checkpoint_that_is_busy_for_a_moment_is_asked_again(store: type[AwkwardStore]) -> None:
    store.errors = [TimeoutError("503 Slow Down")]
    assert resolve_checkpoint(config("model.checkpoint=awkward://weights"), None).identity.startswith("listing:")
    store.errors = [TimeoutError("503 Slow Down") for _ in range(1000)]
    with pytest.raises(StorageError, match=r"listing model.checkpoint=awkward://weights failed \d+ times"):
        resolve_checkpoint(config("model.checkpoint=awkward://weights"), None)


def test_an_empty_folder_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"holds neither config\.json nor model\.safetensors"):
        resolve_checkpoint(config(f"model.checkpoint={tmp_path}"), None)


class OneCommit:
    """The Hub, which knows one commit and counts how often it is asked."""

    num_asked = 0

    def model_info(self, repository: str, revision: str | None) -> object:
        OneCommit.num_asked += 1
        return type("Info", (), {"sha": "c" * 40})


def test_a_hub_id_is_resolved_to_a_commit_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub, "HfApi", OneCommit)
    OneCommit.num_asked = 0
    asked = config("model=tiny")
    first = resolve_checkpoint(asked, None)
    assert (first.source, first.revision, first.identity) == ("facebook/sam2.1-hiera-tiny", "c" * 40, "c" * 40)
    assert resolve_checkpoint(asked, make_record(asked, first)) == first
    assert OneCommit.num_asked == 1
    other = config("model=tiny", "model.revision=v2")
    resolve_checkpoint(other, make_record(asked, first))
    assert OneCommit.num_asked == 2


class ConnectError(Exception):
    """What the Hub's client raises without a network: of its HTTP library, and no `OSError`."""


class HubOutOfReach:
    """The Hub from a machine without a network."""

    def model_info(self, repository: str, revision: str | None) -> object:
        raise ConnectError("[Errno -2] Name or service not known")


@pytest.mark.parametrize("revision", ["main", "v2"])
def test_without_a_network_the_cache_says_which_commit_a_hub_id_means(
    revision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub, "HfApi", HubOutOfReach)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    asked = config("model=tiny", f"model.revision={revision}")
    with pytest.raises(ConfigError, match=r"neither the Hub nor its cache .*Name or service not known"):
        resolve_checkpoint(asked, None)
    refs = tmp_path / "models--facebook--sam2.1-hiera-tiny" / "refs"
    refs.mkdir(parents=True)
    (refs / revision).write_text("d" * 40)
    assert resolve_checkpoint(asked, None).identity == "d" * 40


def test_a_commit_is_taken_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: pytest.fail("asked the Hub"))
    assert resolve_checkpoint(config("model=tiny", f"model.revision={'a' * 40}"), None).identity == "a" * 40
