"""Files of weights: safetensors, or the original `.pt` read without running any of its code, to tensors by name."""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping
from dataclasses import replace
from typing import IO, Any

import fsspec
import torch
from safetensors import SafetensorError
from safetensors.torch import load, load_file
from torch import Tensor

from model.network.config import SIZES, named_config
from model.weights.stored_names import WRAPPINGS, in_our_names, unwrapped

SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt", ".torch")

# What a file without weights turns out to be, by how it begins.
_KINDS = {
    b"version https://git-lfs": "a Git LFS pointer instead of the file: fetch it with `git lfs pull`",
    b"<": "a web page or XML: probably an error page saved by a download",
    b"{": "a JSON text",
    b"\x1f\x8b": "a gzip archive: unpack it",
    b"\x89HDF": "an HDF5 file",
    b"\x89PNG": "an image",
    b"\xff\xd8\xff": "an image",
    b"%PDF": "a PDF",
}


class WeightsError(ValueError):
    """Weights that cannot be used: what is wrong with them and what to do."""


def read_weights(*locations: str) -> dict[str, Tensor]:
    """The tensors of a file (path or fsspec URI), or of the shards of one model, on the CPU.

    They get the names of `model.safetensors`. In the files they may carry the original names or those of
    `transformers`, with what trainers and compilers put to them: see `stored_names`. A `.pt` file is loaded
    weights-only. Raises `WeightsError` saying what the file is if it has no weights of SAM 2.
    """
    tensors = {name: tensor for location in locations for name, tensor in _read(location).items()}
    try:
        return in_our_names(tensors)
    except ValueError as error:
        raise WeightsError(f"weights {locations[0]}: {error}") from error


def _read(location: str) -> dict[str, Tensor]:
    with fsspec.open(location, "rb") as file:
        start = file.read(64)
    if not start:
        raise WeightsError(f"weights {location}: the file is empty")
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") < 100_000_000:
        return _read_safetensors(location)
    if start.startswith((b"PK\x03\x04", b"\x80")):
        return _read_pt(location)
    for prefix, kind in _KINDS.items():
        if start.startswith(prefix):
            raise WeightsError(f"weights {location}: this is {kind}")
    raise WeightsError(f"weights {location}: neither safetensors nor a .pt file, it begins with {start[:16]!r}")


def config_of_weights(tensors: Mapping[str, Tensor], location: str) -> dict[str, Any]:
    """The `config.json` of a released size, told from the tensors of a file that stands alone."""
    patch = tensors.get("vision_encoder.backbone.patch_embed.projection.weight")
    prefix = "vision_encoder.backbone.blocks."
    num_blocks = len({name[len(prefix) :].split(".")[0] for name in tensors if name.startswith(prefix)})
    for size in SIZES:
        config = named_config(size)
        if patch is not None and (len(patch), num_blocks) == (config.hiera.embed_dims[0], config.hiera.num_blocks):
            return replace(config, is_2_1="occlusion_spatial_embedding_parameter" in tensors).to_hf()
    width = None if patch is None else len(patch)
    raise WeightsError(
        f"weights {location}: none of the released sizes ({', '.join(SIZES)}) has {num_blocks} blocks of width "
        f"{width}; put the config.json of the model beside the file"
    )


def _read_safetensors(location: str) -> dict[str, Tensor]:
    try:
        if "://" not in location:
            return load_file(location)
        with fsspec.open(location, "rb") as file:
            return load(file.read())
    except SafetensorError as error:
        raise WeightsError(
            f"weights {location}: the safetensors file is damaged or not whole ({error}); fetch it again"
        ) from error


def _read_pt(location: str) -> dict[str, Tensor]:
    try:
        # A remote file is read whole: there are many small pieces in it.
        with fsspec.open(location, "rb") as file:
            content = _load(file if "://" not in location else io.BytesIO(file.read()))
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"weights {location}: holds other Python objects than tensors, and is not loaded because that could run "
            'code; save the weights alone, torch.save({"model": model.state_dict()}, …)'
        ) from error
    except (OSError, MemoryError):
        raise
    except Exception as error:  # torch lets each error through that a damaged pickle leads to
        raise WeightsError(
            f"weights {location}: a .pt file that is damaged or not whole ({error}); fetch it again"
        ) from error
    return _tensors_of(content, location)


def _load(file: IO[bytes]) -> object:
    return torch.load(file, map_location="cpu", weights_only=True)


def _tensors_of(content: object, location: str) -> dict[str, Tensor]:
    """The tensors by name, from a state dict or from a dictionary that holds one beside other things."""
    content = unwrapped(content)
    if not isinstance(content, Mapping) or not content:
        raise WeightsError(f"weights {location}: holds a {type(content).__name__} instead of tensors by name")
    odd = [str(name) for name, value in content.items() if not isinstance(value, Tensor)]
    if odd:
        raise WeightsError(
            f"weights {location}: these entries are no tensors: {', '.join(odd[:8])}; expected tensors by name, or "
            f"such a dictionary under one of the keys {', '.join(WRAPPINGS)}"
        )
    return {str(name): value for name, value in content.items()}
