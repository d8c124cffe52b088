"""The names that saved sessions have on disk, one table for each version of the format.

A row names a kind of record, the class that it becomes, and its fields: name on disk, then attribute of the class.
Names on disk never change within a version. To rename a class or an attribute, change the right side only. A field
that a file lacks takes the default of the class; fields of a file that a table does not name are ignored.

Version 1 wrote the names that Python classes and attributes had then. It is read, and never written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from model.network.config import DecoderConfig, HieraConfig, MemoryConfig, Sam2Config
from model.network.features import Segmentation
from model.prompts import BoxPrompt, HiddenPrompt, MaskPrompt, PointPrompt
from model.tracking.frames import Frame
from model.tracking.history import History, HistoryRule, Record, Walk
from model.tracking.memory_bank import Memory, MemoryBank
from model.tracking.saved import SavedRules, SavedSession, SavedStream
from model.tracking.state import PastState, Position, PromptedFrame, TrackedObject

VERSION = 2


@dataclass(frozen=True)
class Kind:
    """How one class stands in a file: `attributes` by their names on disk.

    `large` attributes hold the large tensors of a session, which lie on the device of its state; all other tensors lie
    with the model.
    """

    type: type[Any]
    attributes: Mapping[str, str]
    large: frozenset[str] = frozenset()

    def make(self, values: Mapping[str, Any]) -> Any:
        """The object whose attributes have these values, by name on disk; a name that the table lacks is ignored.

        Raises `TypeError` where a value is missing that the class has no default for.
        """
        return self.type(**{self.attributes[name]: value for name, value in values.items() if name in self.attributes})


KINDS: dict[str, Kind] = {
    "session": Kind(
        SavedSession,
        {
            "network": "config",
            "height_width": "size_hw",
            "rules": "rules",
            "position": "position",
            "objects": "objects",
        },
    ),
    "stream": Kind(
        SavedStream,
        {"newest_frame": "newest", "height_width": "size_hw", "prompts_to_come": "upcoming", "session": "session"},
    ),
    "rules": Kind(
        SavedRules,
        {
            "prompted_memories": "max_prompted_memories",
            "pointers": "max_pointers",
            "history": "history",
            "cached_frames": "num_cached_frames",
            "frames_encoded_together": "encode_ahead",
        },
    ),
    "network": Kind(
        Sam2Config,
        {
            "trunk": "hiera",
            "image_size": "image_size",
            "hidden_dim": "hidden_dim",
            "is_2_1": "is_2_1",
            "mask_prompt_channels": "mask_prompt_channels",
            "decoder": "decoder",
            "memory": "memory",
            "prompted_memories": "max_prompted_memories",
        },
    ),
    "decoder": Kind(DecoderConfig, {"heads": "heads", "mlp_dim": "mlp_dim", "iou_head_dim": "iou_head_dim"}),
    "memory_parts": Kind(
        MemoryConfig,
        {
            "attention_layers": "attention_layers",
            "attention_mlp_dim": "attention_mlp_dim",
            "fuser_dim": "fuser_dim",
        },
    ),
    "trunk": Kind(
        HieraConfig,
        {
            "embed_dims": "embed_dims",
            "heads": "num_heads",
            "blocks": "blocks_per_stage",
            "global_attention": "global_attention_blocks",
            "windows": "window_sizes",
            "position_grid": "position_grid",
        },
    ),
    "position": Kind(Position, {"direction": "mode", "leg": "leg", "next_frame": "next_index"}),
    "frame": Kind(Frame, {"index": "index", "pixels": "pixels_HW3"}),
    "object": Kind(
        TrackedObject,
        {
            "id": "object_id",
            "bank": "bank",
            "history": "history",
            "prompts": "prompts",
            "revision": "revision",
            "upcoming": "upcoming",
        },
    ),
    "prompted": Kind(
        PromptedFrame,
        {
            "prompt": "prompt",
            "is_correction": "is_correction",
            "past": "past",
            "mask": "segmentation",
            "refined_mask": "refined_BHW",
        },
        large=frozenset({"refined_BHW"}),
    ),
    "points": Kind(PointPrompt, {"xy": "points_xy", "labels": "labels"}),
    "box": Kind(BoxPrompt, {"xyxy": "box_xyxy", "xy": "points_xy", "labels": "labels"}),
    "given_mask": Kind(MaskPrompt, {"pixels": "mask_HW"}),
    "hidden": Kind(HiddenPrompt, {"pixels": "mask_HW"}),
    "past": Kind(PastState, {"bank": "bank", "logits": "logits_BHW", "direction": "direction"}),
    "bank": Kind(
        MemoryBank,
        {
            "max_prompted": "max_prompted",
            "max_pointers": "max_pointers",
            "prompted": "prompted",
            "tracked": "tracked",
            "pointers": "pointers",
        },
        large=frozenset({"tracked"}),
    ),
    "memory": Kind(
        Memory, {"frame": "frame_index", "spatial": "spatial", "pointer": "pointer"}, large=frozenset({"spatial"})
    ),
    "mask": Kind(
        Segmentation,
        {
            "logits": "logits_BHW",
            "object_scores": "object_scores_B",
            "predicted_ious": "predicted_ious_B",
            "pointers": "pointers_BC",
        },
        large=frozenset({"logits_BHW"}),
    ),
    "history_rule": Kind(HistoryRule, {"snapshot_every": "snapshot_every", "newest_only": "newest_only"}),
    "history": Kind(
        History,
        {
            "rule": "rule",
            "records": "records",
            "walks": "walks",
            "walks_so_far": "num_walks",
            "snapshots_since_pruning": "num_new_snapshots",
            "walks_over_prompts": "passed",
        },
    ),
    "record": Kind(Record, {"walk": "walk", "revision": "revision", "mask": "segmentation"}),
    "walk": Kind(Walk, {"direction": "direction", "banks": "banks", "not_remembered": "unremembered"}),
}


def _same(kind: type[Any], *names: str) -> Kind:
    return Kind(kind, {name: name for name in names})


KINDS_1: dict[str, Kind] = {
    "BoxPrompt": _same(BoxPrompt, "box_xyxy", "points_xy", "labels"),
    "MaskPrompt": _same(MaskPrompt, "mask_HW"),
    "PointPrompt": _same(PointPrompt, "points_xy", "labels"),
    "Memory": _same(Memory, "frame_index", "spatial", "pointer"),
    "MemoryBank": _same(MemoryBank, "max_prompted", "max_pointers", "prompted", "tracked", "pointers"),
    "Segmentation": _same(Segmentation, "logits_BHW", "object_scores_B", "predicted_ious_B", "pointers_BC"),
    "Frame": _same(Frame, "index", "pixels_HW3"),
    "History": _same(History, "rule", "records", "walks", "num_walks", "num_new_snapshots"),
    "HistoryRule": _same(HistoryRule, "snapshot_every", "newest_only"),
    "Position": _same(Position, "mode", "leg", "next_index"),
    "PromptedFrame": Kind(
        PromptedFrame,
        {"prompt": "prompt", "is_correction": "is_correction", "recall": "past", "segmentation": "segmentation"},
    ),
    "Recall": _same(PastState, "bank", "logits_BHW", "direction"),
    "Record": _same(Record, "walk", "revision", "segmentation"),
    "TrackedObject": _same(TrackedObject, "object_id", "bank", "history", "prompts", "revision", "upcoming"),
    "Walk": _same(Walk, "direction", "banks"),
}

# In version 1 these were dictionaries with the names of attributes as keys.
RULES_1 = _same(SavedRules, "max_prompted_memories", "max_pointers", "history", "num_cached_frames")
NETWORK_1 = _same(
    Sam2Config,
    *("hiera", "image_size", "hidden_dim", "is_2_1", "mask_prompt_channels", "decoder", "memory"),
    "max_prompted_memories",
)
DECODER_1 = Kind(
    DecoderConfig, {"decoder_heads": "heads", "decoder_mlp_dim": "mlp_dim", "iou_head_dim": "iou_head_dim"}
)
MEMORY_1 = Kind(
    MemoryConfig,
    {
        "memory_attention_layers": "attention_layers",
        "memory_attention_mlp_dim": "attention_mlp_dim",
        "fuser_dim": "fuser_dim",
    },
)
TRUNK_1 = _same(
    HieraConfig,
    *("embed_dims", "num_heads", "blocks_per_stage", "global_attention_blocks", "window_sizes", "position_grid"),
)
