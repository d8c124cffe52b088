"""The Hub: its cache on disk, revisions, tokens, and what is said where something is not there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import constants

from model.hf.config import Sam2VideoConfig
from model.hf.model import Sam2VideoModel
from model.hf.processing import Sam2VideoProcessor
from model.network.config import named_config
from model.weights.checkpoint import read_stored_weights
from model.weights.hub import HubAccess, snapshot
from tests.reference.mini import mini_folder
from tests.reference.variants import ConfigStyle, Size, Version, hf_config
from tests.support.hub_server import COMMIT, HubServer, serve, silent_hub
from tests.support.sessions import mini

OTHER_COMMIT = "f" * 40
RELEASED: list[tuple[str, Size, Version]] = [
    (f"facebook/sam2{'.1' if version == '2.1' else ''}-hiera-{size.replace('_', '-')}", size, version)
    for version in ("2.0", "2.1")
    for size in ("tiny", "small", "base_plus", "large")
]


def snapshot_folder(cache: Path, repo: str, commit: str = COMMIT, branch: str | None = "main") -> Path:
    """An empty snapshot in the cache, with the layout in which the Hub's client writes it."""
    root = cache / f"models--{repo.replace('/', '--')}"
    folder = root / "snapshots" / commit
    folder.mkdir(parents=True)
    (root / "blobs").mkdir(exist_ok=True)
    if branch is not None:
        (root / "refs").mkdir(exist_ok=True)
        (root / "refs" / branch).write_text(commit)
    return folder


def cache_mini(cache: Path, repo: str, **where: Any) -> Path:
    """Mini as a cached repository: files are links to blobs."""
    folder = snapshot_folder(cache, repo, **where)
    for source in mini_folder().glob("*.*"):
        blob = folder.parents[1] / "blobs" / f"{source.name}-{folder.name[:4]}"
        shutil.copy(source, blob)
        (folder / source.name).symlink_to(Path("../../blobs") / blob.name)
    return folder


def write_sparse_weights(path: Path, config: dict[str, Any]) -> None:
    """A `model.safetensors` of the right names and shapes that is all zeros and takes no disk, whatever its size."""
    import transformers

    with torch.device("meta"):
        shapes = {
            name: list(tensor.shape)
            for name, tensor in transformers.Sam2VideoModel(transformers.Sam2VideoConfig(**config)).state_dict().items()
        }
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, shape in shapes.items():
        end = offset + 4 * torch.Size(shape).numel()
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + offset)


@pytest.mark.slow
@pytest.mark.parametrize(("repo", "size", "version"), RELEASED, ids=[repo for repo, _, _ in RELEASED])
def test_the_eight_repositories_load_by_name_from_an_offline_cache(
    repo: str, size: Size, version: Version, tmp_path: Path
) -> None:
    styles: tuple[ConfigStyle, ...] = ("rope_parameters", "memory_attention_rope_theta")
    style = styles[RELEASED.index((repo, size, version)) % 2]
    config = hf_config(size, version, 1024, style)
    folder = snapshot_folder(tmp_path, repo)
    (folder / "config.json").write_text(json.dumps(config))
    write_sparse_weights(folder / "model.safetensors", hf_config(size, version, 1024, "rope_parameters"))
    model = Sam2VideoModel.from_pretrained(repo, cache_dir=tmp_path)
    assert model.network.config == named_config(size, is_2_1=version == "2.1")
    assert Sam2VideoConfig.from_pretrained(repo, cache_dir=tmp_path).network() == model.network.config
    assert Sam2VideoProcessor.from_pretrained(repo, cache_dir=tmp_path).target_size == 1024
    num_parameters = sum(tensor.numel() for tensor in model.state_dict().values())
    assert round(num_parameters / 1e6) == {"tiny": 39, "small": 46, "base_plus": 81, "large": 224}[size]


@pytest.mark.slow
def test_a_cached_repository_gives_the_same_bits_as_its_folder(tmp_path: Path) -> None:
    cache_mini(tmp_path, "someone/sam2.1-mini")
    loaded = read_stored_weights("someone/sam2.1-mini", HubAccess(cache_dir=tmp_path)).model().state_dict()
    assert all(torch.equal(tensor, loaded[name]) for name, tensor in mini().state_dict().items())


@pytest.mark.slow
@pytest.mark.parametrize("revision", ["v2", OTHER_COMMIT])
def test_a_revision_is_a_branch_or_a_commit(revision: str, tmp_path: Path) -> None:
    cache_mini(tmp_path, "someone/mini")
    other = cache_mini(tmp_path, "someone/mini", commit=OTHER_COMMIT, branch="v2")
    (other / "config.json").unlink()
    config = json.loads((mini_folder() / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**config, "max_cond_frame_num": 3}))
    first = Sam2VideoModel.from_pretrained("someone/mini", cache_dir=tmp_path)
    second = Sam2VideoModel.from_pretrained("someone/mini", cache_dir=tmp_path, revision=revision)
    assert first.network.config.max_prompted_memories is None
    assert second.network.config.max_prompted_memories == 3
    with pytest.raises(FileNotFoundError, match="someone/mini: is not in the local cache at revision v3"):
        Sam2VideoModel.from_pretrained("someone/mini", cache_dir=tmp_path, revision="v3")


def test_a_repository_that_is_not_cached_is_named_when_offline(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"facebook/sam2.1-hiera-tiny: is not in the local cache, .* offline"):
        Sam2VideoModel.from_pretrained("facebook/sam2.1-hiera-tiny", cache_dir=tmp_path)


def test_a_cached_repository_without_weights_says_what_is_missing(tmp_path: Path) -> None:
    folder = snapshot_folder(tmp_path, "someone/mini")
    (folder / "config.json").write_text((mini_folder() / "config.json").read_text())
    with pytest.raises(FileNotFoundError, match=r"there is no model.safetensors; a folder needs config.json and"):
        Sam2VideoModel.from_pretrained("someone/mini", cache_dir=tmp_path)


FETCH = """
import sys
from model.weights.hub import HubAccess, snapshot
repo, revision, token, cache = (value or None for value in sys.argv[1:])
try:
    print(snapshot(repo, ("config.json", "model.safetensors"), HubAccess(revision, token, cache)))
except FileNotFoundError as error:
    print("refused:", error)
"""


def fetch(server: HubServer, cache: Path, repo: str, revision: str = "", token: str = "") -> str:
    """The folder that a new process fetches, or why it does not."""
    environment = {**os.environ, "HF_ENDPOINT": server.url, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}
    command = [sys.executable, "-c", FETCH, repo, revision, token, str(cache)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout.strip().splitlines()[-1]


@pytest.mark.slow
def test_revision_and_token_reach_the_hub_and_what_is_fetched_serves_offline(tmp_path: Path) -> None:
    files = {"config.json": b"{}", "model.safetensors": b"weights", "sam2.1_hiera_tiny.pt": b"not needed"}
    with serve(HubServer("someone/private", "v2", files, token="hf_secret")) as server:
        folder = Path(fetch(server, tmp_path, "someone/private", "v2", "hf_secret"))
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
            name: data for name, data in files.items() if not name.endswith(".pt")
        }
        asked = [path for path, _ in server.requests]
        assert "/api/models/someone/private/revision/v2" in asked
        assert not any(path.endswith(".pt") for path in asked)
        refused = fetch(server, tmp_path / "other", "someone/private", "v2")
        assert (
            "someone/private: no such repository on the Hub, or a private one: check the id, or give a token" in refused
        )
        missing = fetch(server, tmp_path / "other", "someone/private", "v3", "hf_secret")
        assert "someone/private: has no revision 'v3'" in missing
    offline = HubAccess("v2", cache_dir=tmp_path, local_files_only=True)
    assert snapshot("someone/private", ("config.json", "model.safetensors"), offline) == folder


@pytest.fixture
def silence(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A Hub that takes each question and answers none."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr("model.weights.hub.hub_answer_seconds", lambda *, is_cached: 0.1)
    with silent_hub() as url:
        monkeypatch.setattr(constants, "ENDPOINT", url)
        yield


@pytest.mark.slow
@pytest.mark.usefixtures("silence")
def test_a_silent_hub_does_not_hold_what_is_cached(tmp_path: Path) -> None:
    folder = cache_mini(tmp_path, "someone/mini")
    assert snapshot("someone/mini", ("config.json", "model.safetensors"), HubAccess(cache_dir=tmp_path)) == folder
    assert (
        Sam2VideoModel.from_pretrained("someone/mini", cache_dir=tmp_path).network.config.max_prompted_memories is None
    )


@pytest.mark.slow
@pytest.mark.usefixtures("silence")
def test_a_silent_hub_is_asked_once_for_a_cached_model_and_its_processor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []
    monkeypatch.setattr("model.weights.hub.hub_answer_seconds", lambda *, is_cached: asked.append(is_cached) or 0.1)
    cache_mini(tmp_path, "someone/mini")
    Sam2VideoModel.from_pretrained("someone/mini", cache_dir=tmp_path)
    Sam2VideoProcessor.from_pretrained("someone/mini", cache_dir=tmp_path)
    assert asked == [True]


@pytest.mark.slow
@pytest.mark.usefixtures("silence")
def test_of_a_silent_hub_the_error_says_what_to_do_without_a_network(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"out of reach \(.*timed out\); give a local folder.* HF_HUB_OFFLINE=1"
    ):
        snapshot("someone/mini", ("config.json", "model.safetensors"), HubAccess(cache_dir=tmp_path))


@pytest.mark.slow
def test_names_of_weights_are_told_apart_without_torch() -> None:
    check = (
        "import sys\n"
        "from model import BUNDLED, bundled_folder, is_hub_id\n"
        "from pathlib import Path\n"
        "assert all((Path(bundled_folder(name)) / 'model.safetensors').is_file() for name in BUNDLED)\n"
        "assert bundled_folder('facebook/sam2.1-hiera-tiny') is None\n"
        "assert is_hub_id('facebook/sam2.1-hiera-tiny') and not is_hub_id('/data/weights') and not is_hub_id('mini')\n"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules, sorted(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", check], check=True, timeout=120)
