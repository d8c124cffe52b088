"""Names of weights without a path: those that this package ships, and repositories of the Hub. Needs no torch.

A repository is fetched to the Hub's local cache, and read from that cache alone where `HF_HUB_OFFLINE` is set.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

log = logging.getLogger(__name__)

_ID = re.compile(r"[\w.-]+/[\w.-]+")

# Names of the weights that this package ships, and their folders below `model/checkpoints/`.
BUNDLED = {"mini": "sam2.1-mini"}

# The two files of a folder of weights.
CONFIG_NAME, WEIGHTS_NAME = WEIGHT_FILES = ("config.json", "model.safetensors")


@dataclass(frozen=True)
class HubAccess:
    """How repositories are looked up: `revision` is a branch, tag or commit, `cache_dir` defaults to the Hub's own."""

    revision: str | None = None
    token: str | bool | None = None
    cache_dir: str | Path | None = None
    local_files_only: bool = False


def is_hub_id(source: str) -> bool:
    """Whether this has the form of a Hub id, `owner/name`."""
    return _ID.fullmatch(source) is not None


def bundled_folder(name: str) -> str | None:
    """The folder of weights that this package ships under a name, `None` for any other name."""
    if name not in BUNDLED:
        return None
    return str(resources.files("model") / "checkpoints" / BUNDLED[name])


def snapshot(repo: str, file_names: Sequence[str], access: HubAccess) -> Path:
    """The local folder of a repository, with those of the named files that it has.

    Raises `FileNotFoundError` saying what to do where there is no such repository or revision, where it may not be
    read, and where it is neither in the cache nor within reach.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    log.info("weights %s: fetching from the Hub, or from its local cache", repo)
    at = "" if access.revision is None else f" at revision {access.revision}"
    try:
        folder = snapshot_download(
            repo,
            revision=access.revision,
            token=access.token,
            cache_dir=access.cache_dir,
            local_files_only=access.local_files_only,
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
    except Exception as error:
        reason = f"is not in the local cache{at}, and the Hub is offline or out of reach"
        raise FileNotFoundError(f"weights {repo}: {reason}; fetch it once, or give a folder ({error})") from error
    return Path(folder)
