"""The configuration of the image model of the documentation page, key by key as `config.json` has it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, Self

from model.hf.config import (
    ModelConfig,
    Sam2VideoConfig,
    Sam2VideoMaskDecoderConfig,
    Sam2VideoPromptEncoderConfig,
    Sam2VisionConfig,
)


@dataclass
class Sam2PromptEncoderConfig(Sam2VideoPromptEncoderConfig):
    """The prompt encoder."""

    model_type = "sam2_prompt_encoder"


@dataclass
class Sam2MaskDecoderConfig(Sam2VideoMaskDecoderConfig):
    """The mask decoder."""

    model_type = "sam2_mask_decoder"


@dataclass
class Sam2Config(ModelConfig):
    """A SAM 2 image model; the defaults are those of the released tiny 2.1."""

    model_type = "sam2"
    parts: ClassVar = {
        "vision_config": Sam2VisionConfig,
        "prompt_encoder_config": Sam2PromptEncoderConfig,
        "mask_decoder_config": Sam2MaskDecoderConfig,
    }
    vision_config: Sam2VisionConfig = field(default_factory=Sam2VisionConfig)
    prompt_encoder_config: Sam2PromptEncoderConfig = field(default_factory=Sam2PromptEncoderConfig)
    mask_decoder_config: Sam2MaskDecoderConfig = field(default_factory=Sam2MaskDecoderConfig)
    initializer_range: float = 0.02

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Reads the configuration of an image model, or what of a video model's concerns images."""
        own = {entry.name for entry in fields(cls)}
        of_videos = {entry.name for entry in fields(Sam2VideoConfig)} - own
        made = super().from_dict({key: value for key, value in values.items() if key not in of_videos})
        if values.get("image_size") is not None:  # a video model's says it once more, and that is what counts
            made.prompt_encoder_config = replace(made.prompt_encoder_config, image_size=values["image_size"])
        return made
