"""Checkpoints: a folder, an fsspec URI, a Hub id or an original `.pt` file to a model, strictly.

The layout is that of the Hub repositories: `config.json` and `model.safetensors` with the tensor names of
`transformers`, which are also the names of this project's modules.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import fsspec
import torch
from safetensors.torch import load, load_file, save_file
from torch import Tensor

from model.config import Sam2Config
from model.sam2 import Sam2

log = logging.getLogger(__name__)

CONFIG_NAME = "config.json"
WEIGHTS_NAME = "model.safetensors"
BUNDLED = {"mini": "sam2.1-mini"}

# The layout stores one matrix twice; the model has it once, under the first name.
_STORED_TWICE = {
    "shared_image_embedding.positional_embedding": "prompt_encoder.shared_embedding.positional_embedding",
}


class CheckpointError(ValueError):
    """A checkpoint that cannot be used: what is wrong with it and what to do."""


def load_model(
    source: str,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    revision: str | None = None,
    token: str | None = None,
) -> Sam2:
    """Loads a model for inference.

    `source`: `mini` (bundled), a local folder, an fsspec URI of a folder such as `s3://bucket/sam2.1-tiny`, or a Hub id
    such as `facebook/sam2.1-hiera-tiny` (with `revision` and `token`). Raises `CheckpointError` naming each tensor that
    is missing, unexpected or of the wrong shape, and `FileNotFoundError` where there is nothing.
    """
    config, tensors = read_checkpoint(source, revision=revision, token=token)
    with torch.device("meta"):
        model = Sam2(config)
    _assign(model, tensors, source)
    return model.to(device=device, dtype=dtype)


def read_checkpoint(
    source: str, *, revision: str | None = None, token: str | None = None
) -> tuple[Sam2Config, dict[str, Tensor]]:
    """The configuration and the tensors of a checkpoint, on the CPU, unchecked."""
    folder = bundled_folder(source) or source
    if "://" in folder:
        raw, tensors = _read_uri(folder)
    else:
        path = Path(folder).expanduser()
        if not path.exists():
            path = _download(folder, revision, token)
        raw, tensors = _read_folder(path)
    try:
        return Sam2Config.from_hf(raw), tensors
    except ValueError as error:
        raise CheckpointError(f"checkpoint {source}: {error}") from error


def read_raw_config(source: str, *, revision: str | None = None, token: str | None = None) -> dict[str, Any]:
    """The `config.json` of a checkpoint as it is."""
    folder = bundled_folder(source) or source
    if "://" in folder:
        with fsspec.open(f"{folder.rstrip('/')}/{CONFIG_NAME}", "rb") as file:
            return _parse_config(file.read(), folder)
    path = Path(folder).expanduser()
    if not path.exists():
        path = _download(folder, revision, token)
    return _parse_config((path / CONFIG_NAME).read_bytes(), str(path))


def bundled_folder(name: str) -> str | None:
    """The folder of a checkpoint that this package ships, or None."""
    if name not in BUNDLED:
        return None
    return str(resources.files("model") / "checkpoints" / BUNDLED[name])


def save_model(model: Sam2, folder: str | Path, raw_config: Mapping[str, Any]) -> None:
    """Writes the layout of the Hub repositories; `raw_config` is the `config.json` that describes the model."""
    path = Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    for copy, original in _STORED_TWICE.items():
        tensors[copy] = tensors[original].clone()
    save_file(tensors, str(path / WEIGHTS_NAME), metadata={"format": "pt"})
    (path / CONFIG_NAME).write_text(json.dumps(dict(raw_config), indent=2, sort_keys=True) + "\n")


def _assign(model: Sam2, tensors: Mapping[str, Tensor], source: str) -> None:
    """Puts the tensors into the model, or names everything that does not fit."""
    found = dict(tensors)
    for copy, original in _STORED_TWICE.items():
        value = found.pop(copy, None)
        if value is None:
            continue
        if original in found and not torch.equal(value, found[original]):
            raise CheckpointError(f"checkpoint {source}: {copy} and {original} must be the same matrix, but differ")
        found.setdefault(original, value)
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    problems = [f"missing {name} {list(expected[name])}" for name in sorted(expected.keys() - found.keys())]
    problems += [f"unexpected {name} {list(found[name].shape)}" for name in sorted(found.keys() - expected.keys())]
    problems += [
        f"{name} has shape {list(found[name].shape)}, expected {list(shape)}"
        for name, shape in sorted(expected.items())
        if name in found and tuple(found[name].shape) != shape
    ]
    if problems:
        shown = "\n  ".join(problems[:20])
        more = f"\n  … and {len(problems) - 20} more" if len(problems) > 20 else ""
        raise CheckpointError(f"checkpoint {source} does not fit its config.json:\n  {shown}{more}")
    model.load_state_dict({name: tensor.float() for name, tensor in found.items()}, strict=True, assign=True)
    model.requires_grad_(False)


def _read_folder(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    for name in (CONFIG_NAME, WEIGHTS_NAME):
        if not (path / name).is_file():
            raise FileNotFoundError(
                f"checkpoint {path}: there is no {name}, a folder needs {CONFIG_NAME} and {WEIGHTS_NAME}"
            )
    config = _parse_config((path / CONFIG_NAME).read_bytes(), str(path))
    try:
        return config, load_file(str(path / WEIGHTS_NAME))
    except Exception as error:
        raise CheckpointError(f"checkpoint {path}: {WEIGHTS_NAME} cannot be read: {error}") from error


def _read_uri(uri: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    base = uri.rstrip("/")
    with fsspec.open(f"{base}/{CONFIG_NAME}", "rb") as file:
        config = _parse_config(file.read(), uri)
    with fsspec.open(f"{base}/{WEIGHTS_NAME}", "rb") as file:
        data = file.read()
    try:
        return config, load(data)
    except Exception as error:
        raise CheckpointError(f"checkpoint {uri}: {WEIGHTS_NAME} cannot be read: {error}") from error


def _parse_config(data: bytes, source: str) -> dict[str, Any]:
    try:
        config = json.loads(data)
    except ValueError as error:
        raise CheckpointError(f"checkpoint {source}: {CONFIG_NAME} is not JSON: {error}") from error
    if not isinstance(config, dict):
        raise CheckpointError(f"checkpoint {source}: {CONFIG_NAME} is not a JSON object")
    return config


def _download(repo: str, revision: str | None, token: str | None) -> Path:
    """The local snapshot of a Hub repository; from the cache alone where `HF_HUB_OFFLINE` is set."""
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repo):
        raise FileNotFoundError(
            f"checkpoint {repo!r}: no such folder; give a folder, a URI, a Hub id such as facebook/sam2.1-hiera-tiny, "
            f"or one of {', '.join(BUNDLED)}"
        )
    from huggingface_hub import snapshot_download

    log.info("checkpoint %s: fetching from the Hub, or from its local cache", repo)
    return Path(snapshot_download(repo, revision=revision, token=token, allow_patterns=[CONFIG_NAME, WEIGHTS_NAME]))
