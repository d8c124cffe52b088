"""Saved sessions as safetensors files: tensors, and one JSON text in the header. Nothing in such a file can run.

The JSON text holds the version of the format and the records of the session, under the names of `wire_names`. A tensor
that several memories share is stored once, and shared again when it is read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import fsspec
import numpy as np
import torch
from fsspec.implementations.local import LocalFileSystem
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from model.tracking.saved import SavedSession, SavedStream
from model.tracking.wire_names import DECODER_1, KINDS, KINDS_1, MEMORY_1, NETWORK_1, RULES_1, TRUNK_1, VERSION, Kind

_KEY = "maskmill_session"
_NAME_OF = {kind.type: name for name, kind in KINDS.items()}


def to_bytes(saved: SavedSession | SavedStream) -> bytes:
    """A safetensors file of what is saved of a session or stream."""
    packer = _Packer()
    text = json.dumps({"version": VERSION, "state": packer.pack(saved, "model")})
    return save(packer.tensors, metadata={_KEY: text})


def from_bytes(data: bytes, model_device: torch.device, state_device: torch.device) -> SavedSession | SavedStream:
    """What `to_bytes` was given, its tensors on the devices where a session keeps them.

    Raises `ValueError` for a file that is no saved session, that is damaged, that was written in a newer format, or
    that holds a kind of record which this code does not know. Unknown fields are ignored.
    """
    try:
        text = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"][_KEY]
        tensors = load(data)
        content = json.loads(text)
        version, state = content["version"], content["state"]
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"this is no saved session, or not whole ({type(error).__name__}: {error})") from error
    if version not in (1, VERSION):
        raise ValueError(
            f"the session was saved in format {version}, this code reads formats 1 to {VERSION}: start the video anew, "
            "or go on with the version of maskmill that saved it"
        )
    devices = {"model": model_device, "state": state_device}
    try:
        placed = {name: tensor.to(devices[name.split(".")[0]]) for name, tensor in tensors.items()}
        made = _unpack(state, placed, KINDS_1 if version == 1 else KINDS)
        saved = _of_version_1(made) if version == 1 else made
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise ValueError(f"the saved session is damaged ({type(error).__name__}: {error})") from error
    if not isinstance(saved, (SavedSession, SavedStream)):
        raise ValueError(f"the saved session is damaged (it holds a {type(saved).__name__})")
    return saved


def write_bytes(uri: str, data: bytes, storage_options: Mapping[str, Any] | None = None) -> None:
    """Writes a whole file, or none: a local one is put in place when it is complete."""
    filesystem, path = fsspec.url_to_fs(uri, **(storage_options or {}))
    if not isinstance(filesystem, LocalFileSystem):
        filesystem.pipe_file(path, data)
        return
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_name(f".{target.name}.{uuid4().hex}")
    try:
        aside.write_bytes(data)
        aside.replace(target)
    finally:
        aside.unlink(missing_ok=True)


def read_bytes(uri: str, storage_options: Mapping[str, Any] | None = None) -> bytes:
    """The contents of a file."""
    filesystem, path = fsspec.url_to_fs(uri, **(storage_options or {}))
    data: bytes = filesystem.cat_file(path)
    return data


class _Packer:
    """Takes values apart into what JSON can hold, and tensors by name."""

    def __init__(self) -> None:
        self.tensors: dict[str, Tensor] = {}
        self._names: dict[int, str] = {}
        self._seen: list[Tensor] = []  # so that no id is used again

    def pack(self, value: Any, place: str) -> Any:
        if value is None or isinstance(value, (bool, int, float, str)):
            return value
        if isinstance(value, np.generic):
            return value.item()
        if isinstance(value, Tensor):
            return {"tensor": self._name(value, place)}
        if isinstance(value, np.ndarray):
            return {"array": self._name(torch.from_numpy(np.ascontiguousarray(value)), place)}
        if isinstance(value, (tuple, list)):
            return [self.pack(entry, place) for entry in value]
        if isinstance(value, dict):
            return {"dict": [[self.pack(key, place), self.pack(entry, place)] for key, entry in value.items()]}
        if type(value) in _NAME_OF:
            name = _NAME_OF[type(value)]
            kind = KINDS[name]
            fields = {
                on_disk: self.pack(getattr(value, attribute), "state" if attribute in kind.large else "model")
                for on_disk, attribute in kind.attributes.items()
            }
            return {"kind": name, "fields": fields}
        raise TypeError(f"a session holds a {type(value).__name__}, which cannot be saved")

    def _name(self, tensor: Tensor, place: str) -> str:
        if id(tensor) not in self._names:
            self._seen.append(tensor)
            self._names[id(tensor)] = f"{place}.{len(self._names)}"
            # A copy: rows of one batch share their storage, which the format does not allow.
            self.tensors[self._names[id(tensor)]] = tensor.detach().cpu().clone().contiguous()
        return self._names[id(tensor)]


def _unpack(value: Any, tensors: Mapping[str, Tensor], kinds: Mapping[str, Kind]) -> Any:
    if isinstance(value, list):
        return tuple(_unpack(entry, tensors, kinds) for entry in value)
    if not isinstance(value, dict):
        return value
    if "tensor" in value:
        return tensors[value["tensor"]]
    if "array" in value:
        return tensors[value["array"]].cpu().numpy()
    if "dict" in value:
        return {key: _unpack(entry, tensors, kinds) for key, entry in value["dict"]}
    name = value["kind"] if "kind" in value else value["class"]
    kind = kinds.get(name)
    if kind is None:
        raise ValueError(f"the saved session holds a {name!r}, which this code does not know: start the video anew")
    known = {field: entry for field, entry in value["fields"].items() if field in kind.attributes}
    return kind.make({field: _unpack(entry, tensors, kinds) for field, entry in known.items()})


def _of_version_1(state: Mapping[str, Any]) -> SavedSession | SavedStream:
    """The record of a session or stream of version 1, where those two and the network's config were dictionaries."""
    if "newest" in state:
        session = _session_1(state["session"])
        return SavedStream(state["newest"], state["size_hw"], state["upcoming"], session)
    return _session_1(state)


def _session_1(state: Mapping[str, Any]) -> SavedSession:
    network = state["model"]
    parts = {
        "hiera": TRUNK_1.make(network["hiera"]),
        "decoder": DECODER_1.make(network),
        "memory": MEMORY_1.make(network),
    }
    config = NETWORK_1.make({**network, **parts})
    return SavedSession(config, state["size_hw"], RULES_1.make(state), state["position"], state["objects"])
