"""Code of others run otherwise than it asks for: in float64, with exact memories, without drawing first weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch.overrides import TorchFunctionMode


def in_formats(dtype: torch.dtype, memory_dtype: torch.dtype) -> AbstractContextManager[object]:
    """While it is open, code that asks for float32 gets `dtype`, and code that asks for bfloat16 gets `memory_dtype`.

    Both references ask for bfloat16 where they keep a memory, and nowhere else.
    """
    if (dtype, memory_dtype) == (torch.float32, torch.bfloat16):
        return nullcontext()
    return _InFormats({torch.float32: dtype, torch.bfloat16: memory_dtype})


class _InFormats(TorchFunctionMode):
    """Replaces dtypes among the arguments of every function of torch, and the default dtype."""

    def __init__(self, replaced: Mapping[torch.dtype, torch.dtype]) -> None:
        super().__init__()
        self._replaced = replaced
        self._default = torch.get_default_dtype()

    def __enter__(self) -> _InFormats:
        super().__enter__()
        torch.set_default_dtype(self._replaced[torch.float32])
        return self

    def __exit__(self, *error: Any) -> None:
        torch.set_default_dtype(self._default)
        super().__exit__(*error)

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func is torch.Tensor.float:
            return args[0].to(self._replaced[torch.float32])
        named = {name: self._replacing(value) for name, value in (kwargs or {}).items()}
        return func(*map(self._replacing, args), **named)

    def _replacing(self, value: Any) -> Any:
        return self._replaced.get(value, value) if isinstance(value, torch.dtype) else value


# By name, because `transformers` puts functions of its own in the place of torch's while it draws.
_DRAWS = ("normal_", "uniform_", "kaiming_uniform_")


class NothingDrawn(TorchFunctionMode):
    """While it is open, a network starts with zeros where it would draw first weights, which takes seconds.

    For networks whose weights are all loaded afterwards, strictly.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__name__", None) in _DRAWS:
            drawn = args[0] if args else kwargs["tensor"]
            drawn.detach().zero_()
            return drawn
        return func(*args, **kwargs)
