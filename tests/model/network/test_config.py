"""What is read from a `config.json`, and what is refused."""

from __future__ import annotations

import ast
import copy
import inspect
import json
from pathlib import Path
from typing import Any

import pytest

from model.hf import config as hf_config_module
from model.hf.config import Sam2VideoConfig, Sam2VideoMaskDecoderConfig, Sam2VideoPromptEncoderConfig, Sam2VisionConfig
from model.network.config import CONSTANTS, SIZES, Sam2Config, named_config
from model.weights.hub import bundled_folder
from tests.reference.variants import hf_config

MINI: dict[str, Any] = json.loads((Path(bundled_folder("mini") or "") / "config.json").read_text())


def test_mini_differs_in_size_and_widths() -> None:
    config = Sam2Config.from_hf(MINI)
    assert (config.image_size, config.grid_size, config.mask_size) == (256, 16, 64)
    assert (config.hidden_dim, config.memory.attention_layers, config.decoder.heads) == (128, 2, 4)
    assert config.hiera.blocks_per_stage == (1, 2, 3, 1)


@pytest.mark.parametrize("style", ["rope_parameters", "memory_attention_rope_theta"])
@pytest.mark.parametrize("version", ["2.0", "2.1"])
@pytest.mark.parametrize("size", SIZES)
def test_the_eight_released_configurations_of_old_and_new_files(size: Any, version: Any, style: Any) -> None:
    config = Sam2Config.from_hf(hf_config(size, version, 1024, style))
    assert config == named_config(size, is_2_1=version == "2.1")


def test_keys_that_are_left_out_have_tinys_values() -> None:
    assert Sam2Config.from_hf({"model_type": "sam2_video"}) == Sam2Config() == named_config("tiny")


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("model_type", "sam", "model_type is 'sam', expected 'sam2_video'"),
        ("num_maskmem", 5, "num_maskmem is 5, this code supports only 7"),
        ("vision_config.backbone_config.mlp_ratio", 2.0, "vision_config.backbone_config.mlp_ratio is 2.0"),
        ("vision_config.backbone_config.hidden_act", "relu", "vision_config.backbone_config.hidden_act is 'relu'"),
        ("vision_config.backbone_config.layer_norm_eps", 0.1, "vision_config.backbone_config.layer_norm_eps is 0.1"),
        ("prompt_encoder_config.layer_norm_eps", 0.1, "prompt_encoder_config.layer_norm_eps is 0.1"),
        ("image_size", 1000, "image_size must be a positive multiple of 64, got 1000"),
        ("image_size", 0, "image_size must be a positive multiple of 64, got 0"),
        ("image_size", [256, 512], "only squares"),
        ("image_size", "large", "image_size is large, this code supports only squares"),
        ("enable_occlusion_spatial_embedding", False, "SAM 2.1 has both, SAM 2.0 neither"),
        ("rope_parameters.rope_theta", 5.0, "rope_parameters.rope_theta is 5.0"),
    ],
)
def test_settings_that_no_released_model_has_are_refused(path: str, value: Any, message: str) -> None:
    raw = copy.deepcopy(MINI)
    *parents, key = path.split(".")
    section = raw
    for parent in parents:
        section = section[parent]
    section[key] = value
    with pytest.raises(ValueError, match=message):
        Sam2Config.from_hf(raw)


def test_max_cond_frame_num_bounds_the_prompted_memories() -> None:
    assert Sam2Config.from_hf(MINI).max_prompted_memories is None
    assert Sam2Config.from_hf({**MINI, "max_cond_frame_num": 4}).max_prompted_memories == 4


def test_a_file_is_written_again_with_all_that_it_said() -> None:
    assert Sam2VideoConfig.from_dict(MINI).to_dict() == MINI


@pytest.mark.slow
def test_the_documented_configurations_have_the_documented_defaults() -> None:
    import transformers  # here, because the fast core needs none of it

    ours, theirs = Sam2VideoConfig().to_dict(), transformers.Sam2VideoConfig().to_dict()
    for part in (
        (),
        ("vision_config",),
        ("vision_config", "backbone_config"),
        ("prompt_encoder_config",),
        ("mask_decoder_config",),
    ):
        left, right = ours, theirs
        for key in part:
            left, right = left[key], right[key]
        for key, value in left.items():
            # transformers named the types of the parts later than the types of whole models.
            allowed = (value, "") if key == "model_type" else (value,)
            assert isinstance(value, dict) or right[key] in allowed, (part, key)


def test_parts_may_be_given_as_objects_or_dictionaries() -> None:
    decoder = Sam2VideoMaskDecoderConfig(num_attention_heads=4)
    as_object = Sam2VideoConfig(mask_decoder_config=decoder, prompt_encoder_config=Sam2VideoPromptEncoderConfig())
    as_dict = Sam2VideoConfig.from_dict({"mask_decoder_config": decoder.to_dict()})
    assert as_object == as_dict
    assert as_dict.network().decoder.heads == 4
    assert isinstance(as_dict.vision_config, Sam2VisionConfig)
    assert as_dict.vision_config.backbone_config.embed_dim_per_stage == [96, 192, 384, 768]


@pytest.mark.slow
def test_configurations_are_saved_and_read_again_by_both(tmp_path: Path) -> None:
    import transformers

    Sam2VideoConfig.from_pretrained("mini").save_pretrained(tmp_path / "ours")
    assert Sam2VideoConfig.from_pretrained(tmp_path / "ours").to_dict() == MINI
    theirs = transformers.Sam2VideoConfig.from_pretrained(tmp_path / "ours")
    assert theirs.mask_decoder_config.mlp_dim == 256
    theirs.save_pretrained(tmp_path / "theirs")
    assert Sam2VideoConfig.from_pretrained(tmp_path / "theirs").network() == Sam2Config.from_hf(MINI)


def test_a_number_of_sam2_stands_once() -> None:
    """A key of `config.json` that the network is built from, or checks, has no second default in the configurations."""
    prefixes = {
        "Sam2HieraDetConfig": "vision_config.backbone_config.",
        "Sam2VisionConfig": "vision_config.",
        "Sam2VideoPromptEncoderConfig": "prompt_encoder_config.",
        "Sam2VideoMaskDecoderConfig": "mask_decoder_config.",
        "Sam2VideoConfig": "",
    }
    written: dict[str, ast.expr] = {}
    for one in ast.parse(inspect.getsource(hf_config_module)).body:
        if isinstance(one, ast.ClassDef) and one.name in prefixes:
            for entry in one.body:
                if isinstance(entry, ast.AnnAssign) and isinstance(entry.target, ast.Name) and entry.value is not None:
                    written[prefixes[one.name] + entry.target.id] = entry.value
    checked = CONSTANTS.keys() & written.keys()
    read = {key for key in written if key.rpartition(".")[2] in READ}
    assert len(checked) > 35
    assert len(read) >= len(READ)
    assert not [key for key in checked | read if _has_literal(written[key])]


READ = {
    *("embed_dim_per_stage", "num_attention_heads_per_stage", "blocks_per_stage", "global_attention_blocks"),
    *("window_size_per_stage", "window_positional_embedding_background_size", "image_size", "fpn_hidden_size"),
    *("mask_input_channels", "mlp_dim", "iou_head_hidden_dim", "memory_attention_num_layers"),
    *("memory_attention_feed_forward_hidden_size", "memory_fuser_intermediate_dim"),
}


def _has_literal(value: ast.expr) -> bool:
    """Whether a default is written as numbers: alone, or in a list."""
    numbers = [one for one in ast.walk(value) if isinstance(one, ast.Constant) and not isinstance(one.value, str)]
    return isinstance(value, ast.Constant) or any(isinstance(one, ast.List) for one in ast.walk(value)) & bool(numbers)
