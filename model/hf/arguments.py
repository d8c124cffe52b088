"""The keyword arguments that scripts give to calls of `transformers`, and what they mean here."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch

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

# What `save_pretrained` does here, whether it is said or not.
_SAVES = {
    "distributed_checkpoint": False,
    "is_main_process": True,
    "push_to_hub": False,
    "safe_serialization": True,
    "save_original_format": True,
    "save_peft_format": True,
    "state_dict": None,
    "token": None,
    "variant": None,
}
# Values of `device_map` that spread a model over several devices, and mean the first one where one is enough.
_SPREADING = ("auto", "balanced", "balanced_low_0", "sequential")

_ACCESS = ("cache_dir", "local_files_only", "variant")


def hub_access(
    call: str,
    revision: str | None,
    token: str | bool | None,
    others: Mapping[str, Any],
    own: Sequence[str] = (),
) -> HubAccess:
    """How a repository is looked up, from the arguments of `call` that are not its `own`.

    What has no effect here is taken with a warning that says why. Raises `TypeError` naming the argument and all that
    may be given where an argument is not known.
    """
    given = dict(others)
    token = given.pop("use_auth_token", None) if token is None else token
    for name in [name for name in given if name in _WITHOUT_EFFECT]:
        value = given.pop(name)
        warnings.warn(f"{call}: {name}={value!r} has no effect: {_WITHOUT_EFFECT[name]}", UserWarning, stacklevel=3)
    if unknown := [name for name in given if name not in _ACCESS]:
        known = ", ".join(("revision", "token", *_ACCESS, *own))
        raise TypeError(f"{call}: {unknown[0]}={given[unknown[0]]!r} is not known here; it takes {known}")
    return HubAccess(revision, token, **given)


def check_saving(call: str, others: Mapping[str, Any]) -> None:
    """Arguments of `save_pretrained`, which may say what it does; of `max_shard_size` it warns that it has no effect.

    Raises `TypeError` naming the argument for what is not done here.
    """
    for name, value in others.items():
        if name == "max_shard_size":
            reason = "the weights of SAM 2 are one file, of at most 1 GB"
            warnings.warn(f"{call}: {name}={value!r} has no effect: {reason}", UserWarning, stacklevel=3)
        elif name not in _SAVES:
            raise TypeError(f"{call}: {name}={value!r} is not known here")
        elif value != _SAVES[name]:
            raise TypeError(f"{call}: {name}={value!r} is not supported here, only {_SAVES[name]!r}")


def device_of(device_map: Any) -> torch.device | str | int:
    """The one device on which a model is put. Raises `ValueError` for a map of several devices."""
    if device_map is None:
        return "cpu"
    if isinstance(device_map, Mapping):
        devices = set(device_map.values())  # parts of a model by name; "" is the whole
        if len(devices) != 1:
            raise ValueError(f"device_map: a model lies on one device here, got {dict(device_map)}")
        return device_of(devices.pop())
    if device_map in _SPREADING:
        return "cuda" if torch.cuda.is_available() else "cpu"
    if not isinstance(device_map, (torch.device, str, int)):
        raise ValueError(f"device_map: expected a device or one of {', '.join(_SPREADING)}, got {device_map!r}")
    return device_map
