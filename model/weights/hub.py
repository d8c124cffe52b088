"""Names of weights without a path: those that this package ships, and repositories of the Hub. Needs no torch.

A repository is fetched to the Hub's local cache, and read from that cache alone where `HF_HUB_OFFLINE` is set.
"""

from __future__ import annotations

import json
import logging
import math
import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path

log = logging.getLogger(__name__)

# A model and its processors are four questions. A Hub that was silent is not asked for so long about what is cached.
_SILENT_SECONDS = 60.0
_silences: dict[str, tuple[float, Exception]] = {}

_ID = re.compile(r"[\w.-]+/[\w.-]+")
_SHARD = re.compile(r"model-\d+-of-\d+\.safetensors")

# Names of the weights that this package ships, and their folders below `model/checkpoints/`.
BUNDLED = {"mini": "sam2.1-mini"}

HUB_REMEDY = (
    "a local folder with config.json and the weights, or fetch the repository where there is a network, as by "
    "`hf download`, bring the Hub's cache here (HF_HOME) and set HF_HUB_OFFLINE=1"
)
"""What people give on a machine that the Hub does not answer, in words."""

CONFIG_NAME, WEIGHTS_NAME = "config.json", "model.safetensors"
# Large models are saved in several files, and the index says which tensor is in which.
INDEX_NAME = "model.safetensors.index.json"
PICKLE_NAME = "pytorch_model.bin"


@dataclass(frozen=True)
class HubAccess:
    """How repositories are looked up: `revision` is a branch, tag or commit, `cache_dir` defaults to the Hub's own.

    `variant` is a word in the name of the weights, as `fp16` in `model.fp16.safetensors`.
    """

    revision: str | None = None
    token: str | bool | None = None
    cache_dir: str | Path | None = None
    local_files_only: bool = False
    variant: str | None = None


def hub_answer_seconds(*, is_cached: bool) -> float:
    """For how long the Hub is waited for. Where the cache has something of a repository, that is not as long.

    The Hub's client waits for an answer without an end: a network that drops what is sent would hold a program.
    """
    return 3.0 if is_cached else 10.0


def is_hub_id(source: str) -> bool:
    """Whether this has the form of a Hub id, `owner/name`."""
    return _ID.fullmatch(source) is not None


def whole_name(variant: str | None) -> str:
    """The name of weights that are in one file, with the word of a variant."""
    return WEIGHTS_NAME if variant is None else f"model.{variant}.safetensors"


def weight_names(names: Iterable[str], variant: str | None = None) -> list[str]:
    """Of the names of the files in a folder, those that a model is loaded from: the config first, then the weights.

    The weights are `model.safetensors`, or its shards with their index, or else `pytorch_model.bin`. The list has no
    weights if there are none.
    """
    there = set(names)
    found = [CONFIG_NAME] if CONFIG_NAME in there else []
    whole = whole_name(variant)
    if whole in there:
        return [*found, whole]
    if INDEX_NAME in there and variant is None:
        return [*found, INDEX_NAME, *sorted(name for name in there if _SHARD.fullmatch(name))]
    return [*found, PICKLE_NAME] if PICKLE_NAME in there and variant is None else found


def bundled_folder(name: str) -> str | None:
    """The folder of weights that this package ships under a name, `None` for any other name."""
    if name not in BUNDLED:
        return None
    return str(resources.files("model") / "checkpoints" / BUNDLED[name])


def weights_snapshot(repo: str, access: HubAccess) -> Path:
    """The local folder of a repository with the files that a model is loaded from, and no others.

    Most repositories have `model.safetensors`. Shards and `pytorch_model.bin` are asked for only where it is not there,
    at the commit of the first answer. Raises as `snapshot`.
    """
    whole = whole_name(access.variant)
    folder = snapshot(repo, (CONFIG_NAME, whole, INDEX_NAME), access)
    if (folder / whole).exists():
        return folder
    rest = "model-*-of-*.safetensors" if (folder / INDEX_NAME).exists() else PICKLE_NAME
    return snapshot(repo, (CONFIG_NAME, INDEX_NAME, rest), replace(access, revision=folder.name))


def cached_weights(repo: str, access: HubAccess) -> Path | None:
    """The folder of a repository in the local cache if it has all that a model is loaded from; the Hub is not asked."""
    try:
        folder = weights_snapshot(repo, replace(access, local_files_only=True))
        names = weight_names((path.name for path in folder.iterdir()), access.variant)
        shards = _shards(folder) if INDEX_NAME in names else []
    except (FileNotFoundError, ValueError, AttributeError):
        return None
    is_whole = names[:1] == [CONFIG_NAME] and len(names) > 1 and all(shard in names for shard in shards)
    return folder if is_whole else None


def _shards(folder: Path) -> list[str]:
    return [str(name) for name in json.loads((folder / INDEX_NAME).read_bytes())["weight_map"].values()]


def snapshot(repo: str, file_names: Sequence[str], access: HubAccess) -> Path:
    """The local folder of a repository, with those of the named files that it has.

    Raises `FileNotFoundError` saying what to do where there is no such repository or revision, where it may not be
    read, and where it is neither in the cache nor within reach.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    log.info("weights %s: fetching from the Hub, or from its local cache", repo)
    at = "" if access.revision is None else f" at revision {access.revision}"
    silence = _silence(repo, access)
    try:
        folder = snapshot_download(
            repo,
            revision=access.revision,
            token=access.token,
            cache_dir=access.cache_dir,
            local_files_only=access.local_files_only or silence is not None,
            allow_patterns=list(file_names),
        )
    except GatedRepoError as error:
        reason = "access must be asked for on the Hub, then give a token"
        raise FileNotFoundError(f"weights {repo}: {reason} ({error})") from error
    except RevisionNotFoundError as error:
        raise FileNotFoundError(f"weights {repo}: has no revision {access.revision!r}") from error
    except RepositoryNotFoundError as error:
        reason = "no such repository on the Hub, or a private one: check the id, or give a token"
        raise FileNotFoundError(f"weights {repo}: {reason}") from error
    except Exception as error:  # noqa: BLE001  # what went wrong first is the cause, as it may pass by itself
        reason = f"is not in the local cache{at}, and the Hub is offline or out of reach ({_said(silence or error)})"
        raise FileNotFoundError(f"weights {repo}: {reason}; give {HUB_REMEDY}") from (silence or error)
    return Path(folder)


def _silence(repo: str, access: HubAccess) -> Exception | None:
    """What went wrong where the Hub gives no answer in time; None where it gives any, and where it is not asked."""
    from huggingface_hub import HfApi, constants, try_to_load_from_cache
    from huggingface_hub.errors import HfHubHTTPError

    if access.local_files_only or constants.HF_HUB_OFFLINE:
        return None
    cached = try_to_load_from_cache(repo, CONFIG_NAME, cache_dir=access.cache_dir, revision=access.revision)
    is_cached = isinstance(cached, str)
    heard_at, before = _silences.get(constants.ENDPOINT, (-math.inf, None))
    if is_cached and time.monotonic() - heard_at < _SILENT_SECONDS:
        return before
    seconds = hub_answer_seconds(is_cached=is_cached)
    try:
        HfApi(token=access.token).model_info(repo, revision=access.revision, timeout=seconds)
    except HfHubHTTPError:
        return None  # it is raised again where it matters
    except Exception as error:  # noqa: BLE001  # errors of the network have the classes of whatever client the Hub uses
        _silences[constants.ENDPOINT] = time.monotonic(), error
        return error
    return None


def _said(error: Exception) -> str:
    """What an error says, in a line, or its name where it says nothing."""
    return (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
