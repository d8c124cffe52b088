"""What the models of the documentation page share: loading and saving, where they are, the features of images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar

import torch
from torch import Tensor, nn

from model.hf.arguments import LOADING_INFO, check_saving, device_of, hub_access
from model.hf.config import ModelConfig
from model.hf.inference_session import as_dtype
from model.hf.outputs import Sam2VideoImageFeatures, usable
from model.network.image_encoder import ImageEncoder
from model.network.layers import sine_position_2d, wide
from model.network.processor import warn_of_emulation
from model.network.sam2_image import ImageMaps, Sam2Image
from model.weights.checkpoint import StoredWeights, read_stored_weights, save_model

# What `from_pretrained` of a model takes beside how a repository is looked up.
_OWN_ARGUMENTS = ("dtype", "torch_dtype", "device_map", "config", "output_loading_info")

Config = TypeVar("Config", bound=ModelConfig)
Network = TypeVar("Network", bound=Sam2Image)


class StoredModel(nn.Module, Generic[Config, Network]):
    """A network with its `config.json`. In state dicts its weights have their names of `model.safetensors`."""

    config_class: ClassVar[Any]
    config: Config
    network: Network

    def __init__(self, config: Config, network: Network | None = None) -> None:
        super().__init__()
        self.config = config
        self.network = self.new_network(config) if network is None else network
        self.eval()
        # Hooks, as a module around this one never calls its `load_state_dict`.
        self.register_state_dict_post_hook(_shorten_names)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_pre_hook(_lengthen_names)  # type: ignore[no-untyped-call]

    @classmethod
    def new_network(cls, config: ModelConfig) -> Any:
        """A network without weights."""
        raise NotImplementedError

    @classmethod
    def loaded_network(cls, stored: StoredWeights) -> Any:
        """A network with the weights that are stored."""
        raise NotImplementedError

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | Path,
        *,
        dtype: torch.dtype | str | None = None,
        revision: str | None = None,
        token: str | bool | None = None,
        torch_dtype: torch.dtype | str | None = None,
        device_map: Any = None,
        **access: Any,
    ) -> Self:
        """A model by `mini`, folder, URI, Hub id (at a `revision`, with a `token`) or file: see `model.weights`.

        `dtype`, formerly `torch_dtype`, is by default that of the file. `device_map` is one device, or `auto`: a GPU if
        there is one; a map of parts must name one device for all. `access` may give `cache_dir`, `local_files_only` and
        `variant`, a `config` in the place of the stored one, and `output_loading_info`: the result is then the model
        and a dictionary. Raises `WeightsError` saying what is wrong with the weights, `FileNotFoundError` where there
        is none.
        """
        config, wants_info = access.pop("config", None), access.pop("output_loading_info", False)
        hub = hub_access(f"{cls.__name__}.from_pretrained", revision, token, access, _OWN_ARGUMENTS)
        device = device_of(device_map)
        stored = read_stored_weights(str(pretrained_model_name_or_path), hub)
        if config is not None:
            given = config if isinstance(config, ModelConfig) else cls.config_class.from_pretrained(config)
            stored = replace(stored, raw_config=given.to_dict())
        asked = torch_dtype if dtype is None else dtype
        wanted = stored.dtype if asked is None or asked == "auto" else as_dtype(asked)
        made = cls(cls.config_class.from_dict(stored.raw_config), cls.loaded_network(stored).to(device, wanted))
        warn_of_emulation(made.device, wanted)
        # Weights are loaded strictly, so that whoever asks is told that nothing was missing.
        return (made, {name: [] for name in LOADING_INFO}) if wants_info else made  # type: ignore[return-value]

    def save_pretrained(self, save_directory: str | Path, **others: Any) -> None:
        """Writes `config.json` and `model.safetensors`, which `transformers` loads too and computes the same from.

        Raises `TypeError` for arguments that ask for something else.
        """
        check_saving(f"{type(self).__name__}.save_pretrained", others)
        raw = self.config.to_dict() | {"dtype": str(self.dtype).removeprefix("torch.")}
        save_model(self.network, save_directory, {"architectures": [type(self).__name__], **raw})

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return self.network.device

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the weights, and so of the computation."""
        return self.network.dtype

    @property
    def vision_encoder(self) -> ImageEncoder:
        """The image encoder, for hooks."""
        return self.network.vision_encoder

    def get_image_embeddings(self, pixel_values: Tensor) -> list[Tensor]:
        """What the mask decoder sees of normalized images `[N, 3, S, S]`: maps of strides 4, 8 and 16, `[N, C, h, w]`.

        The last map has the embedding that stands for "no memory". Raises `ValueError` for other tensors.
        """
        stride4, stride8, stride16 = self._maps_of(pixel_values)
        return usable([stride4, stride8, self.network.without_memory(stride16)])

    def get_image_features(self, pixel_values: Tensor) -> Sam2VideoImageFeatures:
        """The same maps without that embedding, as tokens `[h * w, N, C]`, with their position codes."""
        maps = usable(self._maps_of(pixel_values))
        dim, dtype = self.network.config.hidden_dim, wide(self.dtype)
        codes = [sine_position_2d(one.shape[-1], dim, dtype).to(self.device, self.dtype) for one in maps]
        return Sam2VideoImageFeatures(
            [one.flatten(2).permute(2, 0, 1) for one in maps],
            [code.flatten(1).T.unsqueeze(1).expand(-1, len(pixel_values), -1) for code in codes],
        )

    def _maps_of(self, pixel_values: Tensor) -> ImageMaps:
        check_images(pixel_values, self.network.config.image_size)
        return self.network.image_maps(pixel_values.to(self.device))


def check_images(pixel_values: Any, size: int) -> None:
    """Raises `ValueError` for anything but normalized images `[N, 3, S, S]` of this size."""
    if not isinstance(pixel_values, Tensor):
        raise ValueError(f"pixel_values: expected a tensor, got {type(pixel_values).__name__}")
    if tuple(pixel_values.shape[1:]) != (3, size, size) or not pixel_values.is_floating_point():
        raise ValueError(
            f"pixel_values: expected normalized images [N, 3, {size}, {size}], got {pixel_values.dtype} "
            f"{list(pixel_values.shape)}: give processor(images=…).pixel_values"
        )


def _shorten_names(_: nn.Module, weights: dict[str, Any], prefix: str, *_metadata: Any) -> None:
    """Takes `network.` out of the names of a model that is saved, `prefix` being where it is in the whole."""
    _replace_start(weights, f"{prefix}network.", prefix)


def _lengthen_names(_: nn.Module, weights: dict[str, Any], prefix: str, *_results: Any) -> None:
    """The reverse, for a model that is loaded."""
    _replace_start(weights, prefix, f"{prefix}network.")


def _replace_start(weights: dict[str, Any], old: str, new: str) -> None:
    for name in list(weights):
        if name.startswith(old):
            weights[new + name.removeprefix(old)] = weights.pop(name)
