"""Stored weights to a model, strictly: from a folder, an fsspec URI, a Hub id or a single file.

The layout is that of the Hub repositories: `config.json` and `model.safetensors` with the tensor names of
`transformers`, which are also the names of this project's modules. The original `.pt` files work as they are.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
import torch
from safetensors.torch import save_file
from torch import Tensor

from model.network.config import Sam2Config
from model.network.sam2 import Sam2
from model.weights.hub import (
    BUNDLED,
    CONFIG_NAME,
    WEIGHT_FILES,
    WEIGHTS_NAME,
    HubAccess,
    bundled_folder,
    is_hub_id,
    snapshot,
)
from model.weights.weight_files import SUFFIXES, WeightsError, config_of_weights, read_weights

# The layout stores one matrix twice; the model has it once, under the first name.
_STORED_TWICE = {
    "shared_image_embedding.positional_embedding": "prompt_encoder.shared_embedding.positional_embedding",
}


@dataclass(frozen=True)
class StoredWeights:
    """Weights as they are stored: their `config.json` as it is, and the tensors by name, on the CPU, unchecked."""

    source: str
    raw_config: dict[str, Any]
    tensors: dict[str, Tensor]

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of most of the tensors."""
        return Counter(t.dtype for t in self.tensors.values()).most_common(1)[0][0]

    def model(self) -> Sam2:
        """The network with these tensors, in float32 on the CPU.

        Raises `WeightsError` naming each tensor that is missing, unexpected or of the wrong shape.
        """
        try:
            config = Sam2Config.from_hf(self.raw_config)
        except ValueError as error:
            raise WeightsError(f"weights {self.source}: {error}") from error
        with torch.device("meta"):
            model = Sam2(config)
        _assign(model, self.tensors, self.source)
        return model


def load_model(
    source: str,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    revision: str | None = None,
    token: str | None = None,
) -> Sam2:
    """Loads a model for inference.

    `source`: `mini` (bundled), a local folder, an fsspec URI of a folder such as `s3://bucket/sam2.1-tiny`, a Hub id
    such as `facebook/sam2.1-hiera-tiny` (with `revision` and `token`), or one file, `.safetensors` or an original
    `.pt`, with its `config.json` beside it unless it has a released size. Raises `WeightsError` naming each
    tensor that is missing, unexpected or of the wrong shape, and `FileNotFoundError` where `source` does not exist.
    """
    stored = read_stored_weights(source, HubAccess(revision, token))
    return stored.model().to(device=device, dtype=dtype)


def read_stored_weights(source: str, access: HubAccess | None = None) -> StoredWeights:
    """Weights as they are stored; `source` as for `load_model`."""
    place = locate(source, WEIGHT_FILES, access)
    if not place.endswith(SUFFIXES) or Path(place).is_dir():
        return StoredWeights(source, read_json(place, CONFIG_NAME), read_weights(_existing(place, WEIGHTS_NAME)))
    folder, name = folder_and_name(place)
    tensors = read_weights(_existing(folder, name))
    has_config = has_file(folder, CONFIG_NAME)
    return StoredWeights(
        source, read_json(folder, CONFIG_NAME) if has_config else config_of_weights(tensors, source), tensors
    )


def folder_and_name(place: str) -> tuple[str, str]:
    """The folder and the name of a file (path or URI). A file at the root lies in `/`, a bare name in `.`."""
    folder, slash, name = place.rpartition("/")
    return folder or slash or ".", name


def locate(source: str, file_names: tuple[str, ...], access: HubAccess | None = None) -> str:
    """The folder of weights (or their single file), local or a URI; the named files are fetched from the Hub."""
    place = bundled_folder(source) or source
    if "://" in place:
        return place.rstrip("/")
    path = Path(place).expanduser()
    if path.is_file() and path.suffix not in SUFFIXES:
        raise WeightsError(f"weights {source}: expected a folder or a file ending in {', '.join(SUFFIXES)}")
    if path.exists():
        return path.as_posix()
    if is_hub_id(place) and path.suffix not in SUFFIXES:
        return snapshot(place, file_names, access or HubAccess()).as_posix()
    raise FileNotFoundError(
        f"weights {source!r}: no such file or folder; give one, a URI, a Hub id such as facebook/sam2.1-hiera-tiny, "
        f"or one of {', '.join(BUNDLED)}"
    )


def read_json(folder: str, name: str) -> dict[str, Any]:
    """A JSON object of a folder (path or URI)."""
    with fsspec.open(_existing(folder, name), "rb") as file:
        data = file.read()
    try:
        content = json.loads(data)
    except ValueError as error:
        raise WeightsError(f"weights {folder}: {name} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise WeightsError(f"weights {folder}: {name} is not a JSON object")
    return content


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
            raise WeightsError(f"weights {source}: {copy} and {original} must be the same matrix, but differ")
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
        raise WeightsError(f"weights {source} do not fit their config.json:\n  {shown}{more}")
    model.load_state_dict({name: tensor.float() for name, tensor in found.items()}, strict=True, assign=True)
    model.requires_grad_(False)


def has_file(folder: str, name: str) -> bool:
    """Whether a folder (path or URI) has a file."""
    filesystem, path = fsspec.url_to_fs(f"{folder}/{name}")
    return bool(filesystem.exists(path))


def _existing(folder: str, name: str) -> str:
    """The location of a file of a folder. Raises `FileNotFoundError` saying what weights need."""
    if not has_file(folder, name):
        raise FileNotFoundError(
            f"weights {folder}: there is no {name}; a folder needs {CONFIG_NAME} and {WEIGHTS_NAME}, an original "
            ".pt file is given by its own name"
        )
    return f"{folder}/{name}"
