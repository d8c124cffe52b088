"""The names under which people keep the tensors of SAM 2, beside those of `model.safetensors`.

Trainers and compilers put words in front of a name or into it, and wrap the tensors in dictionaries of their own. Files
with the names of the original `.pt` exist as safetensors too.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from model.weights.pt_names import rename_pt

# Parallel training, Lightning modules and the classes around a model that are seen most. No tensor of SAM 2 begins so.
_PREFIXES = ("module.", "model.", "sam2_model.", "sam2.")
# torch.compile puts this in front of what it compiled, a model or a part of it.
_COMPILED = "_orig_mod."
# A dictionary that holds the tensors beside other things has them under one of these keys.
WRAPPINGS = ("model", "state_dict", "model_state_dict", "module")


def plain_name(name: str) -> str:
    """The name of a tensor without what a compiler or a class around the model has put to it."""
    name = name.replace(_COMPILED, "")
    while prefix := next((prefix for prefix in _PREFIXES if name.startswith(prefix)), ""):
        name = name.removeprefix(prefix)
    return name


def unwrapped(content: object) -> object:
    """What a `.pt` file holds, without the dictionaries that hold the tensors beside other things."""
    while isinstance(content, Mapping):
        inner = next((content[key] for key in WRAPPINGS if isinstance(content.get(key), Mapping)), None)
        if inner is None:
            return content
        content = inner
    return content


def in_our_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors under the names of `model.safetensors`. Raises `ValueError` saying what they are if not SAM 2's."""
    plain = {plain_name(name): tensor for name, tensor in tensors.items()}
    if any(".lora_" in name for name in plain):
        raise ValueError(
            "holds the low-rank matrices of an adapter (LoRA) beside or in place of a model's own tensors: merge them "
            "into the model (with PEFT: merge_and_unload()) and save the whole model"
        )
    if any(name.startswith("vision_encoder.") for name in plain):
        return plain
    return rename_pt(plain)
