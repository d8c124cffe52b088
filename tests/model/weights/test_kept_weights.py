"""Every form in which people keep SAM 2 weights: names of trainers and compilers, wrappings, shards, adapters."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from fsspec.implementations.local import LocalFileSystem
from safetensors.torch import save_file

from model.hf.config import Sam2VideoConfig
from model.hf.image_model import Sam2Model
from model.hf.image_processing import Sam2Processor
from model.hf.model import Sam2VideoModel
from model.hf.processing import Sam2VideoProcessor
from model.network.config import named_config
from model.network.sam2 import Sam2
from model.weights.checkpoint import load_model
from model.weights.hub import weight_names
from model.weights.weight_files import WeightsError
from tests.model.weights.test_checkpoint import Tensors, folder_with, mini_tensors, original_names, same_weights
from tests.model.weights.test_hub import cache_mini
from tests.reference.mini import mini_folder

pytestmark = pytest.mark.slow


def with_config(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    shutil.copy(mini_folder() / "config.json", folder)
    return folder


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod.", "sam2.", "model.", "sam2_model."])
@pytest.mark.parametrize("names", [original_names, dict], ids=["original names", "names of transformers"])
def test_safetensors_under_the_names_of_trainers_and_compilers(names: Any, prefix: str, tmp_path: Path) -> None:
    tensors = {f"{prefix}{name}": tensor.clone() for name, tensor in names(mini_tensors()).items()}
    save_file(tensors, with_config(tmp_path) / "mini.safetensors")
    assert same_weights(load_model(str(tmp_path / "mini.safetensors")))


def test_a_part_that_was_compiled_alone(tmp_path: Path) -> None:
    tensors = original_names(mini_tensors())
    compiled = {name.replace("image_encoder.", "image_encoder._orig_mod."): tensor for name, tensor in tensors.items()}
    torch.save({"model": compiled}, with_config(tmp_path) / "mini.pt")
    assert same_weights(load_model(str(tmp_path / "mini.pt")))


@pytest.mark.parametrize(
    ("suffix", "keys"),
    [
        (".pt", ("state_dict",)),
        (".pth", ("model_state_dict",)),
        (".ckpt", ("state_dict",)),
        (".torch", ("module",)),
        (".bin", ("model", "state_dict")),
    ],
)
def test_dictionaries_that_hold_the_tensors_beside_other_things(
    suffix: str, keys: tuple[str, ...], tmp_path: Path
) -> None:
    content: Any = original_names(mini_tensors())
    for key in reversed(keys):
        content = {key: content, "epoch": 3, "loss": 0.5}
    torch.save(content, with_config(tmp_path) / f"mini{suffix}")
    assert same_weights(load_model(str(tmp_path / f"mini{suffix}")))


def sharded(folder: Path, tensors: Tensors) -> Path:
    """As `save_pretrained` of transformers writes models that are larger than `max_shard_size`."""
    with_config(folder)
    halves = [dict(list(tensors.items())[start::2]) for start in (0, 1)]
    weight_map = {}
    for number, half in enumerate(halves, 1):
        name = f"model-{number:05d}-of-00002.safetensors"
        save_file(half, folder / name)
        weight_map |= dict.fromkeys(half, name)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return folder


def test_shards_are_put_together_by_their_index(tmp_path: Path) -> None:
    assert same_weights(load_model(str(sharded(tmp_path, mini_tensors()))))


def test_shards_that_transformers_writes(tmp_path: Path) -> None:
    theirs = transformers.Sam2VideoModel.from_pretrained(mini_folder())
    theirs.save_pretrained(tmp_path, max_shard_size="1MB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 1
    assert same_weights(load_model(str(tmp_path)))


def test_a_shard_that_is_not_there_is_named(tmp_path: Path) -> None:
    (sharded(tmp_path, mini_tensors()) / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"index.json names model-00002-of-00002.safetensors: fetch it again"):
        load_model(str(tmp_path))


def test_a_folder_with_pytorch_model_bin(tmp_path: Path) -> None:
    torch.save(mini_tensors(), with_config(tmp_path) / "pytorch_model.bin")
    assert same_weights(load_model(str(tmp_path)))


@pytest.mark.parametrize("form", ["shards", "pytorch_model.bin", "variant"])
def test_repositories_of_the_hub_in_these_forms(form: str, tmp_path: Path) -> None:
    """The first look finds no `model.safetensors`; the second one asks for what is there instead."""
    folder = cache_mini(tmp_path, "someone/mini")
    (folder / "model.safetensors").unlink()
    if form == "shards":
        sharded(tmp_path / "aside", mini_tensors())
        for file in (tmp_path / "aside").glob("model*"):
            shutil.copy(file, folder)
    elif form == "variant":
        save_file(mini_tensors(), folder / "model.fp16.safetensors")
    else:
        torch.save(mini_tensors(), folder / "pytorch_model.bin")
    variant = "fp16" if form == "variant" else None
    model = Sam2VideoModel.from_pretrained("someone/mini", cache_dir=tmp_path, local_files_only=True, variant=variant)
    assert same_weights(model.network)


def test_what_a_folder_lacks_is_told_from_what_it_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(FileNotFoundError, match=r"an adapter \(PEFT\): merge it into its model by merge_and_unload"):
        load_model(str(tmp_path))
    trainer = tmp_path / "trainer"
    trainer.mkdir()
    folder_with(trainer / "checkpoint-500", mini_tensors())
    with pytest.raises(FileNotFoundError, match=r"checkpoint-500 in it holds a model: give .*trainer/checkpoint-500"):
        load_model(str(trainer))
    for name in ("checkpoint-1000", "runs", "zzz"):
        shutil.copytree(trainer / "checkpoint-500", trainer / name)
    asked: list[str] = []
    exists = LocalFileSystem.exists
    monkeypatch.setattr(LocalFileSystem, "exists", lambda self, path, **_: asked.append(path) or exists(self, path))
    with pytest.raises(FileNotFoundError, match=r"checkpoint-1000 in it holds a model: give .*trainer/checkpoint-1000"):
        load_model(str(trainer))
    assert [Path(path).parent.name for path in asked] == ["trainer", "checkpoint-1000"], "one of thousands of folders"
    originals = tmp_path / "originals"
    originals.mkdir()
    (originals / "sam2.1_hiera_tiny.pt").write_bytes(b"x")
    with pytest.raises(FileNotFoundError, match=r"given by its own name: .*originals/sam2.1_hiera_tiny.pt"):
        load_model(str(originals))


def test_an_adapter_that_is_not_merged_is_called_that(tmp_path: Path) -> None:
    tensors = {**mini_tensors(), "mask_decoder.conv_s0.lora_A.default.weight": torch.zeros(4, 4)}
    with pytest.raises(WeightsError, match=r"adapter \(LoRA\).*merge them into the model"):
        load_model(folder_with(tmp_path / "model", tensors))


def test_an_image_model_is_called_that(tmp_path: Path) -> None:
    tensors = {name: tensor for name, tensor in mini_tensors().items() if not name.startswith("memory_")}
    with pytest.raises(WeightsError, match="they are of an image model without memory"):
        load_model(folder_with(tmp_path / "model", tensors))


def test_config_and_processor_come_by_the_name_of_the_weights_file(tmp_path: Path) -> None:
    with torch.device("meta"):
        released = Sam2(named_config("tiny")).state_dict()
    alone = tmp_path / "alone"
    alone.mkdir()
    torch.save({"model": {name: torch.zeros(()).expand(t.shape) for name, t in released.items()}}, alone / "tiny.pt")
    assert Sam2VideoProcessor.from_pretrained(alone / "tiny.pt").target_size == 1024
    assert Sam2VideoConfig.from_pretrained(alone / "tiny.pt").network() == named_config("tiny")
    torch.save({"model": original_names(mini_tensors())}, with_config(tmp_path) / "mini.pt")
    assert Sam2VideoProcessor.from_pretrained(tmp_path / "mini.pt").target_size == 256
    assert Sam2VideoConfig.from_pretrained(tmp_path / "mini.pt") == Sam2VideoConfig.from_pretrained("mini")


@pytest.mark.parametrize("cls", [Sam2Processor, Sam2VideoProcessor])
@pytest.mark.parametrize("kind", ["of an image model", "a size for height and width"])
def test_a_processor_knows_the_size_from_any_config(cls: Any, kind: str, tmp_path: Path) -> None:
    """A processor of 1024 pixels came out, which the model of this very folder refuses."""
    if kind == "of an image model":
        Sam2Model.from_pretrained("mini").save_pretrained(tmp_path)
    else:
        raw = Sam2VideoConfig.from_pretrained("mini").to_dict() | {"image_size": [256, 256]}
        (tmp_path / "config.json").write_text(json.dumps(raw))
    assert not list(tmp_path.glob("*processor*"))
    assert cls.from_pretrained(tmp_path).target_size == 256


def test_weights_have_memory_of_their_own_so_that_bits_do_not_depend_on_the_container(tmp_path: Path) -> None:
    """Tensors of a mapped safetensors file lie at multiples of 8 bytes, and get other kernels than those of a `.pt`."""
    torch.save({"model": original_names(mini_tensors())}, with_config(tmp_path) / "mini.pt")
    for source in ("mini", str(tmp_path / "mini.pt")):
        places = [tensor.data_ptr() for tensor in load_model(source).state_dict().values()]
        assert [place % 64 for place in places] == [0] * len(places)


@pytest.mark.parametrize(
    "argument",
    [
        {"attn_implementation": "sdpa"},
        {"use_safetensors": True},
        {"low_cpu_mem_usage": True},
        {"force_download": False},
        {"trust_remote_code": True},
    ],
    ids=lambda argument: next(iter(argument)),
)
def test_arguments_that_change_nothing_are_taken_with_a_warning(argument: dict[str, Any]) -> None:
    (name,) = argument
    for cls in (Sam2VideoModel, Sam2VideoProcessor, Sam2VideoConfig):
        with pytest.warns(UserWarning, match=rf"{cls.__name__}.from_pretrained: {name}=.* has no effect: "):
            cls.from_pretrained("mini", **argument)


def test_arguments_that_nobody_knows_are_named_with_those_that_are() -> None:
    with pytest.raises(
        TypeError, match=r"Sam2VideoModel.from_pretrained: cash_dir='x' is not known here; it takes rev"
    ):
        Sam2VideoModel.from_pretrained("mini", cash_dir="x")
    with pytest.raises(ValueError, match="do_normalize is False, this code supports only True"):
        Sam2VideoProcessor.from_pretrained("mini", do_normalize=False)
    assert Sam2VideoProcessor.from_pretrained("mini", do_normalize=True).target_size == 256

    with pytest.raises(TypeError, match=r"it takes .*device_map"):
        Sam2VideoModel.from_pretrained("mini", quantization_config={})


SAVES: dict[str, Any] = {"safe_serialization": True, "push_to_hub": False, "is_main_process": True, "state_dict": None}


@pytest.mark.parametrize("cls", [Sam2VideoModel, Sam2Model, Sam2VideoProcessor, Sam2Processor, Sam2VideoConfig])
def test_saving_takes_the_arguments_that_say_what_it_does(cls: Any, tmp_path: Path) -> None:
    given = cls.from_pretrained(pretrained_model_name_or_path="mini")
    given.save_pretrained(save_directory=tmp_path / "plain")
    with pytest.warns(UserWarning, match=rf"{cls.__name__}.save_pretrained: max_shard_size='1MB' has no effect: "):
        given.save_pretrained(tmp_path / "said", **SAVES, max_shard_size="1MB")
    plain, said = ({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("plain", "said"))
    assert plain == said
    for argument in ({"safe_serialization": False}, {"push_to_hub": True}, {"state_dict": {}}, {"variant": "fp16"}):
        ((name, value),) = argument.items()
        with pytest.raises(TypeError, match=rf"{cls.__name__}.save_pretrained: {name}={value!r} is not supported here"):
            given.save_pretrained(tmp_path / "other", **argument)
    with pytest.raises(TypeError, match="save_pretrained: shards=3 is not known here"):
        given.save_pretrained(tmp_path / "other", shards=3)
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("device_map", [None, "cpu", torch.device("cpu"), {"": "cpu"}, {"a": "cpu", "b": "cpu"}])
def test_a_model_is_put_on_the_one_device_of_a_map(device_map: Any) -> None:
    assert Sam2VideoModel.from_pretrained("mini", device_map=device_map).device.type == "cpu"


def test_a_model_is_spread_over_no_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for device_map in ("auto", "balanced", "balanced_low_0", "sequential"):
        assert Sam2VideoModel.from_pretrained("mini", device_map=device_map).device.type == "cpu"
    with pytest.raises(ValueError, match=r"device_map: a model lies on one device here, got \{'a': 'cpu', 'b': 0\}"):
        Sam2VideoModel.from_pretrained("mini", device_map={"a": "cpu", "b": 0})
    with pytest.raises(ValueError, match=r"device_map: expected a device or one of auto, .*, got 1\.5"):
        Sam2VideoModel.from_pretrained("mini", device_map=1.5)


def test_a_model_of_8_bits_is_refused() -> None:
    with pytest.raises(ValueError, match=r"dtype: torch\.float8_e4m3fn is no dtype"):
        Sam2VideoModel.from_pretrained("mini", dtype=torch.float8_e4m3fn)


def test_a_config_may_be_given_and_loading_info_asked_for() -> None:
    config = Sam2VideoConfig.from_dict({**Sam2VideoConfig.from_pretrained("mini").to_dict(), "max_cond_frame_num": 3})
    model, info = Sam2VideoModel.from_pretrained("mini", config=config, output_loading_info=True)
    assert model.network.config.max_prompted_memories == 3
    assert info == {"missing_keys": [], "unexpected_keys": [], "mismatched_keys": [], "error_msgs": []}


@pytest.mark.parametrize(
    ("there", "used"),
    [
        (["model.safetensors", "config.json", "README.md", "optimizer.pt"], ["config.json", "model.safetensors"]),
        (["pytorch_model.bin", "model.safetensors"], ["model.safetensors"]),
        (["pytorch_model.bin", "config.json"], ["config.json", "pytorch_model.bin"]),
        (["config.json"], ["config.json"]),
        ([], []),
    ],
)
def test_only_the_files_that_a_model_is_loaded_from_are_read(there: list[str], used: list[str]) -> None:
    assert weight_names(there) == used
