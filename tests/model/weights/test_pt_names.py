"""Names of the original `.pt` files against the names that `transformers` and ours use, for all eight checkpoints."""

from __future__ import annotations

import sys

import pytest
import torch

from model.weights.checkpoint import StoredWeights
from model.weights.pt_names import POINT_EMBEDDINGS, rename_pt
from tests.reference.trio import sam2_process
from tests.reference.variants import SIZES, ConfigStyle, ModelSpec, Size, Version

MATRIX = "sam_prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"


def pt_tensors(model: ModelSpec) -> dict[str, torch.Tensor]:
    """Tensors that `sam2` itself would save, of the right names and shapes but all zero."""
    shapes = sam2_process().layout(model.sam2_config_name)
    return {name: torch.zeros(()).expand(shape) for name, shape in shapes.items()}


@pytest.mark.slow
@pytest.mark.parametrize("version", ["2.0", "2.1"])
@pytest.mark.parametrize("size", SIZES)
def test_renamed_tensors_are_exactly_those_of_transformers(size: Size, version: Version) -> None:
    import transformers

    model = ModelSpec(size, version, 1024)
    style: ConfigStyle = "memory_attention_rope_theta" if version == "2.0" else "rope_parameters"
    with torch.device("meta"):
        network = transformers.Sam2VideoModel(transformers.Sam2VideoConfig.from_dict(model.hf_config(style)))
    expected = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    renamed = rename_pt(pt_tensors(model))
    assert {name: tuple(tensor.shape) for name, tensor in renamed.items()} == expected
    StoredWeights("renamed", model.hf_config(style), renamed).model()


@pytest.mark.slow
def test_sam2_is_never_imported_here() -> None:
    """It initializes Hydra's global state, which the pipeline needs for itself."""
    assert sam2_process().layout(ModelSpec("tiny", "2.1", 1024).sam2_config_name)
    assert "sam2" not in sys.modules


def test_matrix_stored_twice_and_point_embeddings_joined_in_order() -> None:
    tensors = {name: torch.full((1, 4), float(row)) for row, name in enumerate(POINT_EMBEDDINGS)}
    tensors[MATRIX] = torch.arange(6.0).view(2, 3)
    renamed = rename_pt(tensors)
    assert renamed["prompt_encoder.point_embed.weight"].tolist() == [[row] * 4 for row in (0.0, 1.0, 2.0, 3.0)]
    assert renamed["shared_image_embedding.positional_embedding"] is tensors[MATRIX]
    assert renamed["prompt_encoder.shared_embedding.positional_embedding"] is tensors[MATRIX]


def test_unknown_and_missing_tensors_are_named() -> None:
    tensors = {name: torch.zeros(1, 4) for name in POINT_EMBEDDINGS[1:]}
    tensors["image_encoder.trunk.blocks.x.norm1.weight"] = torch.zeros(4)
    with pytest.raises(ValueError, match=r"unknown: image_encoder.trunk.blocks.x.norm1.weight; missing: .*\.0\.weight"):
        rename_pt(tensors)


def test_a_long_list_of_unknown_tensors_is_cut() -> None:
    tensors = dict.fromkeys(POINT_EMBEDDINGS, torch.zeros(1, 4)) | {f"detector.{n}": torch.zeros(1) for n in range(30)}
    with pytest.raises(ValueError, match=r"detector\.7 and 22 more"):
        rename_pt(tensors)
