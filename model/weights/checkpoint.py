"""Stored weights to a model, strictly: from a folder, an fsspec URI, a Hub id or a single file.

The layout is that of the Hub repositories: `config.json` and `model.safetensors` with the tensor names of
`transformers`, which are also the names of this project's modules. The original `.pt` files work as they are.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import fsspec
import torch
from safetensors.torch import save_file
from torch import Tensor

from model.network.config import Sam2Config
from model.network.processor import warn_of_emulation
from model.network.sam2 import Sam2
from model.network.sam2_image import Sam2Image
from model.weights.hub import (
    BUNDLED,
    CONFIG_NAME,
    INDEX_NAME,
    WEIGHTS_NAME,
    HubAccess,
    bundled_folder,
    is_hub_id,
    weight_names,
    weights_snapshot,
    whole_name,
)
from model.weights.weight_files import SUFFIXES, WeightsError, config_of_weights, read_weights

ADAPTER_NAME = "adapter_config.json"

# The layout stores one matrix twice; the model has it once, under the first name.
_STORED_TWICE = {
    "shared_image_embedding.positional_embedding": "prompt_encoder.shared_embedding.positional_embedding",
}

# How the names of the tensors begin that an image model leaves out.
_ONLY_FOR_VIDEOS = (
    "mask_downsample.",
    "memory_",
    "no_memory_positional_encoding",
    "no_object_pointer",
    "object_pointer_proj.",
    "occlusion_spatial_embedding_parameter",
    "temporal_positional_encoding_projection_layer.",
)


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
        with torch.device("meta"):
            model = Sam2(network_config(self.raw_config, self.source))
        _assign(model, self.tensors, self.source)
        return model

    def image_model(self) -> Sam2Image:
        """The same without what only videos need, whether it is stored or not."""
        with torch.device("meta"):
            model = Sam2Image(network_config(self.raw_config, self.source))
        kept = {name: tensor for name, tensor in self.tensors.items() if not name.startswith(_ONLY_FOR_VIDEOS)}
        _assign(model, kept, self.source)
        return model


def network_config(raw_config: Mapping[str, Any], source: str) -> Sam2Config:
    """What a `config.json` says of the network. Raises `WeightsError` for one of another model, or a damaged one."""
    try:
        return Sam2Config.from_hf(raw_config)
    except ValueError as error:
        raise WeightsError(f"weights {source}: {error}") from error
    except (TypeError, AttributeError, LookupError) as error:
        raise WeightsError(
            f"weights {source}: {CONFIG_NAME} has a value of another kind than SAM 2's ({error}); fetch it again"
        ) from error


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
    `.pt`, with its `config.json` beside it unless it has a released size. A folder may hold the weights in shards, or
    as `pytorch_model.bin`. Raises `WeightsError` naming each tensor that is missing, unexpected or of the wrong shape,
    and `FileNotFoundError` where `source` does not exist. Warns of bfloat16 on a CPU that would emulate it.
    """
    warn_of_emulation(device, dtype)
    stored = read_stored_weights(source, HubAccess(revision, token))
    return stored.model().to(device=device, dtype=dtype)


def read_stored_weights(source: str, access: HubAccess | None = None) -> StoredWeights:
    """Weights as they are stored; `source` as for `load_model`."""
    access = access or HubAccess()
    place = locate(source, partial(weights_snapshot, access=access))
    if not is_weights_file(place):
        return StoredWeights(source, read_json(place, CONFIG_NAME), _tensors_of_folder(place, access.variant))
    folder, name = folder_and_name(place)
    tensors = read_weights(_existing(folder, name))
    has_config = has_file(folder, CONFIG_NAME)
    return StoredWeights(
        source, read_json(folder, CONFIG_NAME) if has_config else config_of_weights(tensors, source), tensors
    )


def is_weights_file(place: str) -> bool:
    """Whether a path or URI names one file of weights, by its suffix; a folder may have such a name too."""
    return place.endswith(SUFFIXES) and not Path(place).is_dir()


def _tensors_of_folder(folder: str, variant: str | None) -> dict[str, Tensor]:
    """The tensors of a folder (path or URI): of one file, or of all the shards that its index names."""
    names = [name for name in weight_names(file_names(folder), variant) if name != CONFIG_NAME]
    if not names:
        raise FileNotFoundError(f"weights {folder}: there is no {whole_name(variant)}; {_what_a_folder_needs(folder)}")
    if names[0] != INDEX_NAME:
        return read_weights(f"{folder}/{names[0]}")
    shards = sorted(set(read_json(folder, INDEX_NAME).get("weight_map", {}).values()))
    missing = [shard for shard in shards if shard not in names]
    if missing or not shards:
        raise FileNotFoundError(
            f"weights {folder}: {INDEX_NAME} names {', '.join(missing) or 'no file'}: fetch it again"
        )
    return read_weights(*(f"{folder}/{shard}" for shard in shards))


def folder_and_name(place: str) -> tuple[str, str]:
    """The folder and the name of a file (path or URI). A file at the root lies in `/`, a bare name in `.`."""
    folder, slash, name = place.rpartition("/")
    return folder or slash or ".", name


def locate(source: str, fetch: Callable[[str], Path]) -> str:
    """The folder of weights (or their single file), local or a URI; `fetch` makes a local folder of a Hub id."""
    place = bundled_folder(source) or source
    if "://" in place:
        return place.rstrip("/")
    path = Path(place).expanduser()
    if path.is_file() and path.suffix not in SUFFIXES:
        raise WeightsError(f"weights {source}: expected a folder or a file ending in {', '.join(SUFFIXES)}")
    if path.exists():
        return path.as_posix()
    if is_hub_id(place) and path.suffix not in SUFFIXES:
        return fetch(place).as_posix()
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


def save_model(model: Sam2Image, folder: str | Path, raw_config: Mapping[str, Any]) -> None:
    """Writes the layout of the Hub repositories; `raw_config` is the `config.json` that describes the model."""
    path = Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    for copy, original in _STORED_TWICE.items():
        tensors[copy] = tensors[original].clone()
    save_file(tensors, str(path / WEIGHTS_NAME), metadata={"format": "pt"})
    (path / CONFIG_NAME).write_text(json.dumps(dict(raw_config), indent=2, sort_keys=True) + "\n")


def _assign(model: Sam2Image, tensors: Mapping[str, Tensor], source: str) -> None:
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
    # Weights that were quantized are other numbers, which only their library knows.
    whole = {name: t.dtype for name, t in found.items() if not t.is_floating_point()}
    problems += [f"{name} is of {dtype}, expected floating point" for name, dtype in whole.items()]
    problems += [
        f"{name} has shape {list(found[name].shape)}, expected {list(shape)}"
        for name, shape in sorted(expected.items())
        if name in found and tuple(found[name].shape) != shape
    ]
    if problems:
        shown = "\n  ".join(problems[:20])
        more = f"\n  … and {len(problems) - 20} more" if len(problems) > 20 else ""
        lacks_memory = isinstance(model, Sam2) and not any(name.startswith("memory_") for name in found)
        kind = ": they are of an image model without memory, which Sam2Model loads" if lacks_memory else ""
        raise WeightsError(f"weights {source} do not fit their config.json{kind}:\n  {shown}{more}")
    # Copies, because the same weights must give the same bits from every container. A file that is mapped into memory
    # has its tensors at multiples of 8 bytes, and torch computes with other kernels on those than on its own memory.
    copies = {name: tensor.to(torch.float32, copy=True) for name, tensor in found.items()}
    model.load_state_dict(copies, strict=True, assign=True)
    model.requires_grad_(False)


def has_file(folder: str, name: str) -> bool:
    """Whether a folder (path or URI) has a file."""
    filesystem, path = fsspec.url_to_fs(f"{folder}/{name}")
    return bool(filesystem.exists(path))


def file_names(folder: str) -> list[str]:
    """The names of the files and folders in a folder (path or URI); empty if it is not there."""
    filesystem, path = fsspec.url_to_fs(folder)
    try:
        return [str(entry).rstrip("/").rpartition("/")[2] for entry in filesystem.ls(path, detail=False)]
    except FileNotFoundError:
        return []


def _existing(folder: str, name: str) -> str:
    """The location of a file of a folder. Raises `FileNotFoundError` saying what weights need."""
    if not has_file(folder, name):
        raise FileNotFoundError(f"weights {folder}: there is no {name}; {_what_a_folder_needs(folder)}")
    return f"{folder}/{name}"


def _what_a_folder_needs(folder: str) -> str:
    """What to do about a folder that holds no model, told from what it does hold."""
    names = file_names(folder)
    if ADAPTER_NAME in names:
        return (
            f"{ADAPTER_NAME} says that this is an adapter (PEFT): merge it into its model by merge_and_unload(), save "
            "the whole model, and give that folder"
        )
    # Of the folders in it, only the one that a trainer wrote last is asked, because a bucket may hold thousands.
    inner = sorted(_folders_in(folder), key=lambda name: ("checkpoint" in name, len(name), name))
    if inner and has_file(f"{folder}/{inner[-1]}", CONFIG_NAME):
        return f"{inner[-1]} in it holds a model: give {folder}/{inner[-1]}"
    if files := [name for name in sorted(names) if name.endswith(SUFFIXES)]:
        return f"a file of weights is given by its own name: {folder}/{files[0]}"
    return f"a folder needs {CONFIG_NAME} and {WEIGHTS_NAME}, an original .pt file is given by its own name"


def _folders_in(folder: str) -> list[str]:
    """The names of the folders in a folder (path or URI); empty if it is not there."""
    filesystem, path = fsspec.url_to_fs(folder)
    try:
        entries = filesystem.ls(path, detail=True)
    except FileNotFoundError:
        return []
    return [str(entry["name"]).rstrip("/").rpartition("/")[2] for entry in entries if entry["type"] == "directory"]
