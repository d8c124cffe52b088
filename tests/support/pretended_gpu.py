"""A GPU that is pretended: tensors that say `cuda`, computed on the CPU, to test what a program does with a device.

It holds a program to the rules of CUDA that are not about speed:

* Tensors of host and device do not mix, but for a number (0 dimensions) of the host among tensors of the device.
* An operation for which the host waits (a value read, a copy without pinned memory) is counted, by name.
* A copy that the host does not wait for has not happened yet. One to the host leaves rubbish there until its event is
  waited for; one to the device reads its source only then, and the test fails if that was written to in the meantime.
  What goes to the host and back again is right, because the device does both in this order.
* The device is used by one thread, the one that pretends.
* Tensors of a pretended GPU that is gone do not mix with those of another one.

Kernels are those of the CPU, so that results are a CPU's up to what the program does otherwise for `cuda`. What it
cannot show: kernels, their numbers and speed, memory, compiled code and CUDA graphs.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from unittest import mock
from weakref import WeakValueDictionary

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

_HOST = torch.device("cpu")
_RUBBISH = 0xA5
_WAITING = {"_local_scalar_dense", "nonzero", "masked_select", "equal", "unique_dim", "_unique2", "is_nonzero"}


class OnDevice(Tensor):
    """A tensor of the pretended device; `host` has its values. Operations on it work without the mode, too."""

    host: Tensor
    gpu: PretendedGpu
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, host: Tensor, gpu: PretendedGpu) -> OnDevice:
        with torch.inference_mode(False):  # a view of a parameter must be no inference tensor
            made: OnDevice = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
                cls,
                host.size(),
                strides=host.stride(),
                storage_offset=host.storage_offset(),
                dtype=host.dtype,
                device="cuda:0",
            )
        made.host, made.gpu = host, gpu
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        gpu = next(leaf for leaf in _leaves((args, kwargs)) if isinstance(leaf, OnDevice)).gpu
        return gpu.run(func, args, kwargs or {})

    def tolist(self) -> Any:
        """The values; the host waits for them."""
        return self.cpu().tolist()

    def numpy(self, *, force: bool = False) -> Any:
        """Fails as on a GPU."""
        raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() to copy the tensor first")

    def __repr__(self, **_: Any) -> str:
        return f"OnDevice({tuple(self.shape)}, {self.dtype})"


@dataclass
class PretendedGpu:
    """What the program did with the device. `waits` counts operations for which the host waited.

    `pinned_late` counts, by shape, what the program copied to pinned memory when it needed it on the device. With
    `refuses_pinned` the host has no memory that can be pinned.
    """

    waits: Counter[str] = field(default_factory=Counter)
    pinned_late: Counter[tuple[int, ...]] = field(default_factory=Counter)
    refuses_pinned: bool = False
    _thread: int = field(default_factory=threading.get_ident)
    _pinned: WeakValueDictionary[int, Tensor] = field(default_factory=WeakValueDictionary)
    _copies: list[Callable[[], object]] = field(default_factory=list)
    _num_done: int = 0
    _coming: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)  # by memory of the host: where, what

    @contextmanager
    def without_waits(self) -> Iterator[None]:
        """Fails if the host waits for the device in here, as `torch.cuda.set_sync_debug_mode("error")` does."""
        before = self.waits.copy()
        yield
        assert not self.waits - before, f"the host waited: {self.waits - before}"

    def synchronize(self, up_to: int | None = None) -> None:
        """What was begun (the first `up_to` copies) is done now."""
        while self._num_done < (len(self._copies) if up_to is None else up_to):
            copy, self._copies[self._num_done] = self._copies[self._num_done], lambda: None
            self._num_done += 1
            copy()

    @property
    def num_begun(self) -> int:
        """Copies begun so far."""
        return len(self._copies)

    @property
    def num_pinned(self) -> int:
        """Tensors in pinned memory that somebody holds."""
        return len(self._pinned)

    def run(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """One operation of torch."""
        name = func.overloadpacket.__name__
        leaves = list(_leaves((args, kwargs)))
        of_device = [leaf for leaf in leaves if isinstance(leaf, OnDevice)]
        if any(one.gpu is not self for one in of_device):
            raise AssertionError(f"{name}: a tensor of another pretended GPU, which somebody has kept")
        target = kwargs.get("device")
        if (of_device or (target is not None and torch.device(target).type == "cuda")) and (
            threading.get_ident() != self._thread
        ):
            raise AssertionError(f"{name}: a helper thread uses the device")
        if name in ("_pin_memory", "pin_memory", "is_pinned") or kwargs.get("pin_memory"):
            return self._pinned_memory(name, func, args, kwargs)
        if name == "copy_" and isinstance(args[0], OnDevice) != isinstance(args[1], OnDevice):
            return self._copy(args[0], args[1], bool(args[2] if len(args) > 2 else kwargs.get("non_blocking")))
        if name == "_to_copy" and target is not None:
            return self._to(args[0], torch.device(target), func, kwargs)
        if func._can_decompose():  # in inference mode torch hands over operations that are made of others
            with _Mode(self):
                return func.decompose(*args, **kwargs)
        if of_device:
            self._check_places(name, args, leaves)
        return self._compute(func, args, kwargs, of_device, bool(of_device) or _is_cuda(target))

    def _compute(self, func: Any, args: Any, kwargs: dict[str, Any], of_device: list[OnDevice], on_device: bool) -> Any:
        out = func(*_mapped(_on_host, args), **_mapped(_on_host, kwargs))
        if not on_device:
            return out
        wrappers = {id(one.host): one for one in of_device}

        def wrapped(one: Any) -> Any:
            if not isinstance(one, Tensor):
                return one
            known = wrappers.get(id(one))
            return OnDevice(one, self) if known is None else known

        return _mapped(wrapped, out)

    def _check_places(self, name: str, args: Any, leaves: list[Any]) -> None:
        """Whether a GPU would take these arguments, and whether the host would wait."""
        strangers = [leaf for leaf in leaves if isinstance(leaf, Tensor) and not isinstance(leaf, OnDevice)]
        if name in ("index", "index_put_", "index_put", "_index_put_impl_"):
            # Indexes of the host are allowed, at the price of a copy; a mask is turned into indexes.
            indexes = [index for index in args[1] if index is not None]
            if any(not isinstance(index, OnDevice) or index.dtype == torch.bool for index in indexes):
                self._wait(name)
            strangers = [one for one in strangers if all(one is not index for index in indexes)]
        if any(one.dim() > 0 for one in strangers):
            raise RuntimeError(f"{name}: tensors of host and device are mixed: {[tuple(s.shape) for s in strangers]}")
        if name in _WAITING or (name == "repeat_interleave" and isinstance(args[0], OnDevice) and len(args) == 1):
            self._wait(name)

    def _wait(self, name: str) -> None:
        self.waits[name] += 1
        self.synchronize()

    def _to(self, x: Tensor, target: torch.device, func: Any, kwargs: dict[str, Any]) -> Tensor:
        """`x.to(device, …)`. From pinned memory without blocking, the host does not wait."""
        kwargs = {**kwargs, "device": _HOST}
        non_blocking = kwargs.pop("non_blocking", False)
        if isinstance(x, OnDevice):
            if target.type == "cuda":
                return OnDevice(func(x.host, **kwargs), self)
            assert not non_blocking, "a copy to the host that nobody waits for"
            self._wait("a copy to the host")
            copied: Tensor = func(x.host, **kwargs).clone()
            return copied
        if target.type != "cuda":
            plain: Tensor = func(x, **kwargs)
            return plain
        if kwargs.get("dtype", x.dtype) not in (None, x.dtype):
            self._wait("a copy from the host that is converted there")  # into memory that is not pinned
        self._upload(x, non_blocking)
        return OnDevice(func(self._as_the_device_sees(x), **kwargs).clone(), self)

    def _copy(self, to: Tensor, source: Tensor, non_blocking: bool) -> Tensor:
        if isinstance(to, OnDevice):
            self._upload(source, non_blocking)
            if source.is_contiguous() != to.host.is_contiguous():
                # Torch makes a copy with the device's strides, in memory that is not pinned.
                self._wait("a copy from the host that is laid out otherwise")
            to.host.copy_(self._as_the_device_sees(source))
            return to
        assert isinstance(source, OnDevice)
        values = source.host.to(to.dtype).clone()
        if non_blocking and self._is_pinned(to):
            to.view(torch.uint8).fill_(_RUBBISH)
            self._coming[to.untyped_storage().data_ptr()] = (to, values)
            self._copies.append(partial(self._arrive, to, values))
        else:
            self._wait("a copy to the host")
            to.copy_(values)
        return to

    def _arrive(self, to: Tensor, values: Tensor) -> None:
        to.copy_(values)
        place = to.untyped_storage().data_ptr()
        if place in self._coming and self._coming[place][0] is to:
            del self._coming[place]

    def _as_the_device_sees(self, source: Tensor) -> Tensor:
        """What a copy from the host brings: what is on its way to there has arrived by then."""
        if (coming := self._coming.get(source.untyped_storage().data_ptr())) is None:
            return source
        there = torch.empty_like(coming[0]).copy_(coming[1])
        return there.as_strided(source.size(), source.stride(), source.storage_offset())

    def _upload(self, source: Tensor, non_blocking: bool) -> None:
        if not (non_blocking and self._is_pinned(source)):
            if source.dim() or source.numel() != 1:
                self._wait("a copy from the host")
            return
        values = self._as_the_device_sees(source).clone()

        def check() -> None:
            assert torch.equal(source, values), "the source of a copy was written to before the copy was done"

        self._copies.append(check)

    def _pinned_memory(self, name: str, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        if name == "is_pinned":
            return not isinstance(args[0], OnDevice) and self._is_pinned(args[0])
        assert not any(isinstance(one, OnDevice) for one in args), "memory of the device cannot be pinned"
        made: Tensor
        if name.endswith("pin_memory") and self._is_pinned(args[0]):
            return args[0]
        if self.refuses_pinned:
            raise RuntimeError("CUDA error: OS call failed or operation not supported on this OS")
        if name.endswith("pin_memory"):
            self.pinned_late[tuple(args[0].shape)] += 1
        made = args[0].clone() if name.endswith("pin_memory") else func(*args, **{**kwargs, "pin_memory": False})
        self._pinned[made.untyped_storage().data_ptr()] = made
        return made

    def _is_pinned(self, x: Tensor) -> bool:
        return x.untyped_storage().data_ptr() in self._pinned


class _Event:
    """An event of the pretended device, which is never done by itself."""

    gpu: PretendedGpu

    def __init__(self, *_: Any, **__: Any) -> None:
        self._up_to = 0

    def record(self, stream: Any = None) -> None:
        """Stands for the copies begun so far."""
        self._up_to = self.gpu.num_begun

    def query(self) -> bool:
        """Never: a program must be right however late a copy is."""
        return False

    def synchronize(self) -> None:
        """They are done now."""
        self.gpu.synchronize(self._up_to)


class _Mode(TorchDispatchMode):
    """Operations that make tensors of the device out of none."""

    def __init__(self, gpu: PretendedGpu) -> None:
        super().__init__()
        self._gpu = gpu

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """No: nothing is compiled in here, and to leave it out, torch would import its compiler, which takes 2 s."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self._gpu.run(func, args, kwargs or {})


def _leaves(values: Any) -> Iterator[Any]:
    """What operations of torch take and give, without the tuples, lists and dictionaries around it."""
    if isinstance(values, dict):
        values = values.values()
    elif not isinstance(values, tuple | list):
        yield values
        return
    for value in values:
        yield from _leaves(value)


def _mapped(change: Callable[[Any], Any], values: Any) -> Any:
    """`tree_map` of torch, which takes longer than the operations of a small network."""
    if type(values) is tuple or type(values) is list:
        return type(values)([_mapped(change, value) for value in values])
    if type(values) is dict:
        return {key: _mapped(change, value) for key, value in values.items()}
    return tree_map(change, values) if isinstance(values, tuple) else change(values)


def _on_host(value: Any) -> Any:
    if isinstance(value, OnDevice):
        return value.host
    return _HOST if isinstance(value, torch.device) else value


def _is_cuda(target: Any) -> bool:
    return target is not None and torch.device(target).type == "cuda"


@contextmanager
def pretended_gpu(capability: tuple[int, int] = (9, 0)) -> Iterator[PretendedGpu]:
    """In here this machine has one CUDA device, for this thread, with that compute capability."""
    if not hasattr(torch._C, "_ensureCUDADeviceGuardSet"):
        pytest.skip(f"torch {torch.__version__} cannot pretend that there is a CUDA device")
    torch._C._ensureCUDADeviceGuardSet()
    gpu = PretendedGpu()
    event = type("Event", (_Event,), {"gpu": gpu})
    replaced = {
        "is_available": lambda: True,
        "_lazy_init": lambda: None,
        "is_bf16_supported": lambda *_, **__: True,
        "get_device_capability": lambda *_: capability,
        "get_device_name": lambda *_: "a pretended GPU",
        "current_stream": lambda *_: None,
        "synchronize": lambda *_: gpu.synchronize(),
        "empty_cache": lambda: None,
        "_sleep": lambda cycles: None,
        "Event": event,
    }
    # `torch.tensor(…, device=…)` makes its tensor on the host and brings it there, by an operation that can be seen.
    torch._C._set_only_lift_cpu_tensors(True)
    # `module.to(device)` makes new parameters instead of putting a pretended tensor into a real one.
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    try:
        with mock.patch.multiple(torch.cuda, **replaced), _Mode(gpu):
            yield gpu
    finally:
        torch._C._set_only_lift_cpu_tensors(False)
        torch.__future__.set_overwrite_module_params_on_conversion(False)
