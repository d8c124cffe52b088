"""A worker's folder on local disk, checkpoints fetched once, and what a device's errors mean."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from unittest import mock

import fsspec
import pytest
import torch

from model.weights.checkpoint import load_model
from pipeline.config.job_config import ModelConfig
from pipeline.errors import WorkerBroken
from pipeline.storage.scratch import WorkerFolder
from pipeline.worker.devices import choose_device, describe_device, is_out_of_memory, is_poisoned, prepare_model
from pipeline.worker.local_weights import local_weights

HOLD_A_FOLDER = """
import sys, time
from pipeline.storage.scratch import WorkerFolder
folder = WorkerFolder(sys.argv[1])
(folder.path / "rows.arrow").write_bytes(b"rows")
print("ready", flush=True)
time.sleep(60)
"""


def test_a_folder_is_gone_when_it_is_closed(tmp_path: Path) -> None:
    folder = WorkerFolder(str(tmp_path / "spool"))
    (folder.path / "file").write_text("x")
    folder.close()
    assert list((tmp_path / "spool").iterdir()) == []


def test_what_a_killed_worker_left_goes_and_a_living_ones_stays(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD_A_FOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[3]) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"ready\n"
        (theirs,) = tmp_path.iterdir()
        mine = WorkerFolder(str(tmp_path))
        assert set(tmp_path.iterdir()) == {theirs, mine.path}
        os.kill(other.pid, signal.SIGKILL)
    time.sleep(0.1)
    another = WorkerFolder(str(tmp_path))
    assert set(tmp_path.iterdir()) == {mine.path, another.path}
    mine.close()
    another.close()


def test_a_checkpoint_at_a_uri_is_fetched_once_for_a_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    store = fsspec.filesystem("memory")
    store.pipe({"/weights/config.json": b"{}", "/weights/model.safetensors": b"one"})
    first = Path(local_weights("memory://weights", "listing:1", {}))
    assert (first / "model.safetensors").read_bytes() == b"one"
    store.pipe("/weights/model.safetensors", b"two")
    assert Path(local_weights("memory://weights", "listing:1", {})) == first
    assert (first / "model.safetensors").read_bytes() == b"one"
    assert (Path(local_weights("memory://weights", "listing:2", {})) / "model.safetensors").read_bytes() == b"two"
    assert not [path for path in first.parent.iterdir() if path.is_dir() and "-" not in path.name]


@pytest.mark.parametrize("source", ["mini", "/weights", "facebook/sam2.1-hiera-tiny"])
def test_other_checkpoints_are_left_to_the_loader(source: str) -> None:
    assert local_weights(source, "sha256:0", {}) == source


def test_a_file_uri_is_a_path() -> None:
    assert local_weights("file:///weights", "sha256:0", {}) == "/weights"


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what happens without a GPU")
def test_without_a_gpu_the_cpu_computes_in_float32() -> None:
    device, dtype = choose_device(ModelConfig(name="tiny", checkpoint="tiny"))
    assert (device.type, dtype) == ("cpu", torch.float32)
    assert describe_device(device, dtype) == "CPU (no GPU found), 1 thread, float32"
    assert choose_device(ModelConfig(name="tiny", checkpoint="tiny", dtype="bfloat16"))[1] == torch.bfloat16
    with pytest.raises(RuntimeError, match="torch finds no GPU here"):
        choose_device(ModelConfig(name="tiny", checkpoint="tiny", device="cuda"))


def test_a_model_runs_as_the_config_says() -> None:
    plain, autocast, compiled = (
        ModelConfig(name="mini", checkpoint="mini", dtype=dtype, compile=is_compiled)  # type: ignore[arg-type]
        for dtype, is_compiled in (("float32", False), ("autocast", False), ("bfloat16", True))
    )
    model = load_model("mini")
    assert prepare_model(model, plain) is model
    assert model.padding is None
    assert prepare_model(load_model("mini"), autocast).mask_decoder.conv_s0.weight.dtype == torch.bfloat16
    with mock.patch("pipeline.worker.devices.compile_model") as compile_model:
        assert prepare_model(model, compiled) is compile_model.return_value
    compile_model.assert_called_once_with(model)
    assert choose_device(autocast)[1] == torch.float32
    names = [describe_device(torch.device("cpu"), choose_device(one)[1], one) for one in (plain, autocast, compiled)]
    assert [name.partition("thread, ")[2] for name in names] == ["float32", "autocast", "bfloat16, compiled"]


@pytest.mark.parametrize(
    ("error", "out_of_memory", "poisoned"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"), True, False),
        (MemoryError(), True, False),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory"), True, False),
        (RuntimeError("could not create a primitive"), True, False),
        (RuntimeError("can't start new thread"), True, False),
        (WorkerBroken("video 'a': MemoryError: "), False, True),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False, True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR"), False, True),
        (torch.AcceleratorError("device-side assert"), False, True),
        (RuntimeError("shape mismatch"), False, False),
        (ValueError("CUDA error in a file's name"), False, False),
    ],
)
def test_errors_of_a_device_are_told_apart(error: Exception, out_of_memory: bool, poisoned: bool) -> None:
    assert (is_out_of_memory(error), is_poisoned(error)) == (out_of_memory, poisoned)
