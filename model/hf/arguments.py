"""The keyword arguments that scripts give to `from_pretrained` of `transformers`, and what they mean here."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from model.weights.hub import HubAccess

# These change nothing that is computed here: they say how `transformers` reads files or which kernels it takes.
_WITHOUT_EFFECT = {
    "attn_implementation": "kernels are chosen by device, dtype and shape",
    "device_placement": "the device is that of device_map, or of .to()",
    "force_download": "files in the Hub's cache are used as they are; delete them to fetch them again",
    "low_cpu_mem_usage": "weights are always loaded without a second copy of the network",
    "resume_download": "the Hub's client always resumes",
    "trust_remote_code": "no code of a repository is ever run",
    "use_fast": "there is one processor",
    "use_safetensors": "the format is told from the file",
}
# What `output_loading_info` of `transformers` names.
LOADING_INFO = ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs")

_ACCESS = ("cache_dir", "local_files_only", "variant")


def hub_access(call: str, revision: str | None, token: str | bool | None, others: Mapping[str, Any]) -> HubAccess:
    """How a repository is looked up, from the arguments of `call` that are not its own.

    What has no effect here is taken with a warning that says why. Raises `TypeError` naming the argument and all that
    may be given where an argument is not known.
    """
    given = dict(others)
    token = given.pop("use_auth_token", None) if token is None else token
    for name in [name for name in given if name in _WITHOUT_EFFECT]:
        value = given.pop(name)
        warnings.warn(f"{call}: {name}={value!r} has no effect: {_WITHOUT_EFFECT[name]}", UserWarning, stacklevel=3)
    if unknown := [name for name in given if name not in _ACCESS]:
        known = ", ".join(("revision", "token", *_ACCESS))
        raise TypeError(f"{call}: {unknown[0]}={given[unknown[0]]!r} is not known here; it takes {known}")
    return HubAccess(revision, token, **given)
