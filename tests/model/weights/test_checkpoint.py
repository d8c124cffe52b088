"""Checkpoints: strict, from folders, URIs and single files, and clear about what a wrong file is."""

from __future__ import annotations

import doctest
import functools
import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import model as package
from model.hf.model import Sam2VideoModel
from model.network.config import SIZES, Sam2Config, named_config
from model.network.sam2 import Sam2
from model.weights.checkpoint import folder_and_name, load_model, read_stored_weights, save_model
from model.weights.hub import bundled_folder
from model.weights.pt_names import POINT_EMBED, POINT_EMBEDDINGS, PT_NAMES
from model.weights.weight_files import WeightsError, config_of_weights, read_weights
from tests.reference.mini import mini_folder
from tests.support.sessions import mini

pytestmark = pytest.mark.slow

TWICE = "shared_image_embedding.positional_embedding"
Tensors = dict[str, torch.Tensor]


@functools.cache
def _mini_tensors() -> Tensors:
    return load_file(mini_folder() / "model.safetensors")


def mini_tensors() -> Tensors:
    """The bundled weights; the dictionary is the caller's, the tensors are everybody's."""
    return dict(_mini_tensors())


def folder_with(path: Path, tensors: Tensors) -> str:
    path.mkdir(exist_ok=True)
    shutil.copy(mini_folder() / "config.json", path)
    save_file(tensors, str(path / "model.safetensors"))
    return str(path)


@functools.cache
def original_name_of(names: frozenset[str]) -> dict[str, str]:
    """The name in the original files by that of the Hub, for all names but those of the points' embeddings."""
    originals = {}
    for old, new in PT_NAMES.items():
        first = new if isinstance(new, str) else new[0]
        pattern = re.compile(re.escape(first).replace(r"\*", r"(\d+)") + r"(\.weight|\.bias)?")
        for name in names:
            if match := pattern.fullmatch(name):
                *index, suffix = match.groups()
                originals[name] = old.replace("*", index[0] if index else "") + (suffix or "")
    return originals


def original_names(tensors: Tensors) -> Tensors:
    """The names of the original `.pt` files, by the table backwards."""
    names = original_name_of(frozenset(tensors))
    originals = {names[name]: tensor for name, tensor in tensors.items() if name in names}
    return originals | dict(zip(POINT_EMBEDDINGS, tensors[POINT_EMBED].split(1), strict=True))


def same_weights(model: Sam2) -> bool:
    loaded = model.state_dict()
    return all(torch.equal(tensor, loaded[name]) for name, tensor in mini().state_dict().items())


def test_tensors_that_are_missing_unexpected_or_of_another_shape_are_named(tmp_path: Path) -> None:
    tensors = mini_tensors()
    del tensors["memory_attention.layer_norm.weight"]
    tensors["surplus"] = torch.zeros(2)
    tensors["no_object_pointer"] = torch.zeros(1, 7)
    with pytest.raises(WeightsError) as error:
        load_model(folder_with(tmp_path / "model", tensors))
    assert "missing memory_attention.layer_norm.weight [128]" in str(error.value)
    assert "unexpected surplus [2]" in str(error.value)
    assert "no_object_pointer has shape [1, 7], expected [1, 128]" in str(error.value)


def test_weights_of_another_size_are_refused_with_a_list_that_ends(tmp_path: Path) -> None:
    folder = folder_with(tmp_path / "model", mini_tensors())
    (tmp_path / "model" / "config.json").write_text('{"model_type": "sam2_video"}')
    with pytest.raises(WeightsError, match=r"(?s)do not fit their config.json:\n.*… and \d+ more") as error:
        load_model(folder)
    assert len(str(error.value).splitlines()) < 25


def test_the_matrix_that_is_stored_twice_may_be_there_once_but_not_differ(tmp_path: Path) -> None:
    tensors = mini_tensors()
    del tensors[TWICE]
    assert same_weights(load_model(folder_with(tmp_path / "once", tensors)))
    tensors[TWICE] = torch.zeros(2, 64)
    with pytest.raises(WeightsError, match=f"{TWICE} and prompt_encoder.* must be the same matrix, but differ"):
        load_model(folder_with(tmp_path / "differ", tensors))


@pytest.mark.parametrize("source", ["{0}", "{0}/model.safetensors", "file://{0}", "memory://models/mini"])
def test_folders_uris_and_single_files_give_the_same_weights(source: str, tmp_path: Path) -> None:
    folder = folder_with(tmp_path / "model", mini_tensors())
    if source.startswith("memory"):
        fsspec.filesystem("memory").put(folder, "/models/mini", recursive=True)
    assert same_weights(load_model(source.format(folder)))


def wrappings(tensors: Tensors) -> dict[str, Any]:
    optimizer = {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 1e-4}]}
    return {
        "as released": {"model": tensors},
        "bare": tensors,
        "of a trainer": {"model": tensors, "optimizer": optimizer, "epoch": 3, "loss": 0.5, "best": None},
        "of parallel training": {"model": {f"module.{name}": tensor for name, tensor in tensors.items()}},
    }


@pytest.mark.parametrize("wrapping", ["as released", "bare", "of a trainer", "of parallel training"])
@pytest.mark.parametrize("names", [original_names, dict], ids=["original names", "names of transformers"])
def test_pt_files_give_the_same_weights(names: Any, wrapping: str, tmp_path: Path) -> None:
    shutil.copy(mini_folder() / "config.json", tmp_path)
    torch.save(wrappings(names(mini_tensors()))[wrapping], tmp_path / "mini.pt")
    assert same_weights(load_model(str(tmp_path / "mini.pt")))
    assert same_weights(load_model((tmp_path / "mini.pt").as_uri()))


def test_a_model_from_a_pt_file_is_saved_in_the_layout_of_the_hub(tmp_path: Path) -> None:
    shutil.copy(mini_folder() / "config.json", tmp_path)
    torch.save({"model": original_names(mini_tensors())}, tmp_path / "mini.pt")
    Sam2VideoModel.from_pretrained(tmp_path / "mini.pt").save_pretrained(tmp_path / "saved")
    saved, released = load_file(tmp_path / "saved" / "model.safetensors"), mini_tensors()
    assert saved.keys() == released.keys()
    assert all(torch.equal(saved[name], tensor) for name, tensor in released.items())


@pytest.mark.parametrize("is_2_1", [False, True])
@pytest.mark.parametrize("size", SIZES)
def test_the_size_of_a_pt_file_that_stands_alone_is_told_from_its_tensors(size: str, is_2_1: bool) -> None:
    expected = named_config(size, is_2_1=is_2_1)
    with torch.device("meta"):
        tensors = Sam2(expected).state_dict()
    assert Sam2Config.from_hf(config_of_weights(tensors, "file.pt")) == expected


def test_a_pt_file_of_another_size_needs_its_config(tmp_path: Path) -> None:
    torch.save({"model": original_names(mini_tensors())}, tmp_path / "mini.pt")
    with pytest.raises(WeightsError, match=r"none of the released sizes .* has 7 blocks of width 32; put the config"):
        load_model(str(tmp_path / "mini.pt"))


@pytest.mark.slow
def test_state_dicts_that_sam2_itself_makes_are_loaded(tmp_path: Path) -> None:
    """In a process of its own: importing `sam2` initializes Hydra's global state."""
    make = (
        "import sys, torch\n"
        "from sam2.build_sam import build_sam2_video_predictor\n"
        "for config, path in zip(sys.argv[1::2], sys.argv[2::2]):\n"
        "    model = build_sam2_video_predictor(config, ckpt_path=None, device='cpu')\n"
        "    torch.save({'model': model.state_dict()}, path)\n"
    )
    configs = {"2.0": "configs/sam2/sam2_hiera_t.yaml", "2.1": "configs/sam2.1/sam2.1_hiera_t.yaml"}
    words = [word for version, config in configs.items() for word in (config, str(tmp_path / f"{version}.pt"))]
    subprocess.run([sys.executable, "-c", make, *words], check=True, capture_output=True, timeout=300)
    for version in configs:
        path = tmp_path / f"{version}.pt"
        model = load_model(str(path))
        assert model.config == named_config("tiny", is_2_1=version == "2.1")
        original = torch.load(path, weights_only=True)["model"]
        num_shared = original["sam_prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"].numel()
        assert sum(t.numel() for t in model.state_dict().values()) == sum(t.numel() for t in original.values())
        assert num_shared == model.prompt_encoder.shared_embedding.positional_embedding.numel()
        patch = original["image_encoder.trunk.patch_embed.proj.weight"]
        assert torch.equal(model.state_dict()["vision_encoder.backbone.patch_embed.projection.weight"], patch)


class Evil:
    """Unpickled with a class that may run code, this writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return Path.touch, (self.path,)  # type: ignore[return-value]


def test_code_in_a_pt_file_is_not_run(tmp_path: Path) -> None:
    torch.save({"model": Evil(tmp_path / "ran")}, tmp_path / "evil.pt")
    with pytest.raises(WeightsError, match="holds other Python objects than tensors, and is not loaded"):
        load_model(str(tmp_path / "evil.pt"))
    assert not (tmp_path / "ran").exists()


WRONG_FILES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "the file is empty"),
    "LFS pointer": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
        "a Git LFS pointer instead of the file",
    ),
    "error page": (b"<!DOCTYPE html><html>404</html>", "a web page or XML"),
    "JSON": (b'{"error": "not found"}', "this is a JSON text"),
    "gzip": (b"\x1f\x8b\x08\x00" + bytes(20), "a gzip archive"),
    "image": (b"\x89PNG\r\n\x1a\n" + bytes(20), "this is an image"),
    "noise": (bytes(range(7, 90)), "neither safetensors nor a .pt file, it begins with"),
    "zip of something else": (b"PK\x03\x04" + bytes(60), "a .pt file that is damaged or not whole"),
}


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("kind", WRONG_FILES)
def test_a_file_of_the_wrong_kind_is_called_what_it_is(kind: str, suffix: str, tmp_path: Path) -> None:
    data, message = WRONG_FILES[kind]
    (tmp_path / f"model{suffix}").write_bytes(data)
    with pytest.raises(WeightsError, match=message):
        load_model(str(tmp_path / f"model{suffix}"))


@pytest.mark.parametrize(
    "content", [[1, 2], {"model": [1]}, {"model": {}}, {"model": {"a": 3}}, {"weights": torch.ones(1)}]
)
def test_a_pt_file_without_a_models_tensors_is_refused(content: Any, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "model.pt")
    with pytest.raises(WeightsError, match=r"holds a|no tensors|not the tensors of an original SAM 2"):
        load_model(str(tmp_path / "model.pt"))


def test_tensors_of_another_model_are_listed(tmp_path: Path) -> None:
    torch.save({"image_encoder.patch_embed.proj.weight": torch.zeros(1)}, tmp_path / "sam_vit_b.pth")
    with pytest.raises(WeightsError, match=r"not the tensors of an original SAM 2 .*image_encoder.patch_embed.proj"):
        load_model(str(tmp_path / "sam_vit_b.pth"))


def test_files_that_are_not_whole_are_refused(tmp_path: Path) -> None:
    folder = Path(folder_with(tmp_path / "model", mini_tensors()))
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(WeightsError, match="damaged or not whole"):
        load_model(str(folder))
    torch.save({"model": original_names(mini_tensors())}, folder / "mini.pt")
    (folder / "mini.pt").write_bytes((folder / "mini.pt").read_bytes()[:-100_000])
    with pytest.raises(WeightsError, match="damaged or not whole"):
        load_model(str(folder / "mini.pt"))


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("is_zip", [True, False], ids=["zip", "the older form"])
def test_a_pt_file_with_damaged_bytes_is_called_damaged(is_zip: bool, tmp_path: Path) -> None:
    """Wherever the damage is; a byte that only changes a number cannot be noticed."""
    path, errors = tmp_path / "model.pt", Counter[str]()
    torch.save(
        {"model": {f"vision_encoder.{index}": torch.ones(3, 4) for index in range(4)}},
        path,
        _use_new_zipfile_serialization=is_zip,
    )
    whole = path.read_bytes()
    damage = np.random.default_rng(0)
    for _ in range(300):
        data = bytearray(whole)
        data[damage.integers(min(len(data), 1000))] = damage.integers(256)
        path.write_bytes(data if damage.random() < 0.7 else data[: damage.integers(1, len(data))])
        try:
            read_weights(str(path))
        except WeightsError as error:
            errors[str(error).removeprefix(f"weights {path}: ").split(" (")[0]] += 1
    assert errors["a .pt file that is damaged or not whole"] > 100


def test_weights_that_were_quantized_are_refused(tmp_path: Path) -> None:
    tensors = mini_tensors()
    name = "memory_attention.layers.0.linear1.weight"
    folder = folder_with(tmp_path / "model", tensors | {name: tensors[name].to(torch.int8)})
    with pytest.raises(WeightsError, match=rf"{name} is of torch\.int8, expected floating point"):
        load_model(folder)


def test_the_name_of_a_folder_may_end_like_that_of_a_file(tmp_path: Path) -> None:
    folder = tmp_path / "mini.bin"
    shutil.copytree(str(bundled_folder("mini")), folder)
    assert len(read_stored_weights(str(folder)).tensors) == len(read_stored_weights("mini").tensors)


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("/model.safetensors", ("/", "model.safetensors")),
        ("model.safetensors", (".", "model.safetensors")),
        ("/data/sam/tiny.pt", ("/data/sam", "tiny.pt")),
        ("memory://weights/tiny.pt", ("memory://weights", "tiny.pt")),
    ],
)
def test_a_file_at_the_root_is_not_one_of_that_name_in_the_working_folder(
    place: str, expected: tuple[str, str]
) -> None:
    assert folder_and_name(place) == expected


def test_folders_without_a_file_and_names_of_nothing_say_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"there is no config.json; a folder needs config.json and model.safete"
    ):
        load_model(str(tmp_path))
    for nothing in ("no-such-thing", str(tmp_path / "no.pt"), "a/b/c"):
        with pytest.raises(
            FileNotFoundError, match=r"no such file or folder; give one, a URI, a Hub id such as .*mini"
        ):
            load_model(nothing)
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(WeightsError, match=r"expected a folder or a file ending in .safetensors, .pt"):
        load_model(str(tmp_path / "notes.txt"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "config.json is not JSON"),
        ("[]", "config.json is not a JSON object"),
        ('{"model_type": "sam"}', "model_type is 'sam', expected 'sam2_video': not a SAM 2 model"),
        ('{"model_type": "sam2_video", "num_maskmem": 3}', "num_maskmem is 3, this code supports only 7"),
        ('{"model_type": "sam2_video", "image_size": null}', "image_size is None, this code supports only squares"),
        ('{"model_type": "sam2_video", "vision_config": 3}', r"config.json has a value of another kind than SAM 2's"),
        ('{"model_type": "sam2_video", "vision_config": "x"}', r"config.json has a value of another kind .*'str'"),
    ],
)
def test_a_config_that_is_none_is_refused(text: str, message: str, tmp_path: Path) -> None:
    folder = folder_with(tmp_path / "model", mini_tensors())
    (tmp_path / "model" / "config.json").write_text(text)
    with pytest.raises(WeightsError, match=message):
        load_model(folder)


def test_device_and_dtype_are_those_asked_for_and_click_positions_stay_exact() -> None:
    model = load_model("mini", device="cpu", dtype=torch.bfloat16)
    assert (model.device, model.dtype) == (torch.device("cpu"), torch.bfloat16)
    assert model.prompt_encoder.shared_embedding.positional_embedding.dtype == torch.float32
    assert all(not parameter.requires_grad for parameter in model.parameters())


def test_half_precision_files_keep_their_dtype_unless_told(tmp_path: Path) -> None:
    Sam2VideoModel.from_pretrained("mini", dtype=torch.bfloat16).save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["dtype"] == "bfloat16"
    assert read_stored_weights(str(tmp_path)).dtype == torch.bfloat16
    for dtype, expected in ((None, torch.bfloat16), ("auto", torch.bfloat16), ("float32", torch.float32)):
        assert Sam2VideoModel.from_pretrained(tmp_path, dtype=dtype).dtype == expected


def test_saving_and_loading_changes_no_bit(tmp_path: Path) -> None:
    save_model(mini(), tmp_path, json.loads((mini_folder() / "config.json").read_text()))
    assert same_weights(load_model(str(tmp_path)))
    frame = torch.from_numpy(np.random.default_rng(0).standard_normal((1, 3, 256, 256), np.float32))
    loaded = load_model(str(tmp_path))
    assert torch.equal(loaded.encode_image(frame).stride16, mini().encode_image(frame).stride16)


def test_importing_the_package_and_completing_its_names_is_cheap() -> None:
    """The public names come when they are asked for: the driver of a job imports `model` without torch."""
    check = (
        "import sys, model\n"
        "assert {*model.__all__} <= {*dir(model)}\n"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules, sorted(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", check], check=True, timeout=120)
    with pytest.raises(AttributeError, match="module 'model' has no attribute 'Sam3'"):
        _ = package.Sam3


@pytest.mark.slow
def test_no_public_name_needs_the_compiler_of_torch() -> None:
    check = (
        "import sys, model\n"
        "from model import Sam2VideoModel, Sam2VideoProcessor, load_video\n"
        "assert all(getattr(model, name) is not None for name in model.__all__)\n"
        "assert not any(name.startswith('torch._dynamo') for name in sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", check], check=True, timeout=120)


def test_the_example_of_the_package_holds() -> None:
    assert doctest.testmod(package) == (0, 7)
