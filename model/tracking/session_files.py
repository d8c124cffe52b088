"""The state of a session as a safetensors file: tensors, and one JSON text in its header. Nothing in it can run.

A tensor that several memories share is stored once and shared again when it is read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
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

from model.network.features import Segmentation
from model.prompts import BoxPrompt, MaskPrompt, PointPrompt
from model.tracking.frames import Frame
from model.tracking.history import History, HistoryRule, Record, Walk
from model.tracking.memory_bank import Memory, MemoryBank
from model.tracking.state import Position, PromptedFrame, Recall, TrackedObject

_KEY = "maskmill_session"
_VERSION = 1

_CLASSES: dict[str, Any] = {
    one.__name__: one
    for one in (
        *(BoxPrompt, MaskPrompt, PointPrompt),
        *(Memory, MemoryBank, Segmentation),
        *(Frame, History, HistoryRule, Position, PromptedFrame, Recall, Record, TrackedObject, Walk),
    )
}
# Where the large tensors of a session lie: on the device of its state. All others are with the model.
_ON_STATE_DEVICE = {("Memory", "spatial"), ("MemoryBank", "tracked"), ("Segmentation", "logits_BHW")}


def to_bytes(state: Mapping[str, Any]) -> bytes:
    """A safetensors file of nested dictionaries, tuples, numbers, texts, tensors and the classes of a session."""
    packer = _Packer()
    text = json.dumps({"version": _VERSION, "state": packer.pack(dict(state), "model")})
    return save(packer.tensors, metadata={_KEY: text})


def from_bytes(data: bytes, model_device: torch.device, state_device: torch.device) -> dict[str, Any]:
    """What `to_bytes` was given, its tensors on the devices where the session keeps them.

    Raises `ValueError` for a file that is no saved session.
    """
    try:
        text = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"][_KEY]
        tensors = load(data)
        content = json.loads(text)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"this is no saved session, or not whole ({type(error).__name__}: {error})") from error
    if content["version"] != _VERSION:
        raise ValueError(f"the session was saved in format {content['version']}, this code reads {_VERSION}")
    devices = {"model": model_device, "state": state_device}
    placed = {name: tensor.to(devices[name.split(".")[0]]) for name, tensor in tensors.items()}
    state: dict[str, Any] = _unpack(content["state"], placed)
    return state


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
        if is_dataclass(value) and type(value).__name__ in _CLASSES:
            name = type(value).__name__
            entries = {
                entry.name: self.pack(
                    getattr(value, entry.name), "state" if (name, entry.name) in _ON_STATE_DEVICE else "model"
                )
                for entry in fields(value)
            }
            return {"class": name, "fields": entries}
        raise TypeError(f"a session holds a {type(value).__name__}, which cannot be saved")

    def _name(self, tensor: Tensor, place: str) -> str:
        if id(tensor) not in self._names:
            self._seen.append(tensor)
            self._names[id(tensor)] = f"{place}.{len(self._names)}"
            # A copy: rows of one batch share their storage, which the format does not allow.
            self.tensors[self._names[id(tensor)]] = tensor.detach().cpu().clone().contiguous()
        return self._names[id(tensor)]


def _unpack(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(value, list):
        return tuple(_unpack(entry, tensors) for entry in value)
    if not isinstance(value, dict):
        return value
    if "tensor" in value:
        return tensors[value["tensor"]]
    if "array" in value:
        return tensors[value["array"]].cpu().numpy()
    if "dict" in value:
        return {key: _unpack(entry, tensors) for key, entry in value["dict"]}
    made = {name: _unpack(entry, tensors) for name, entry in value["fields"].items()}
    return _CLASSES[value["class"]](**made)
