"""The documented calls of ours and of `transformers` over one drawn clip, with mini's weights, in float64."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch

from model.hf.config import Sam2VideoConfig
from model.hf.model import Sam2VideoModel
from model.hf.processing import Sam2VideoProcessor
from tests.reference.formats import in_formats
from tests.reference.mini import MINI_SIZE, mini_in, mini_processor, square_clip
from tests.reference.mini_scenes import our_mini

FRAMES = 4
CLIP = square_clip("drifting", FRAMES)
Masks = dict[int, torch.Tensor]


@dataclass(frozen=True)
class Kit:
    """A model and a processor with the documented calls; what they compute in is set where they are called."""

    model: Any
    processor: Any
    formats: Callable[[], AbstractContextManager[object]] = nullcontext

    def session(self, *, is_stream: bool = False) -> Any:
        video = None if is_stream else list(CLIP.frames_THW3)
        with self.formats():
            return self.processor.init_video_session(video=video, dtype=torch.float64)

    def say(self, session: Any, object_ids: Any, **inputs: Any) -> None:
        with self.formats():
            own_list = list(object_ids) if isinstance(object_ids, list) else object_ids  # there it is emptied
            self.processor.add_inputs_to_inference_session(session, 0, own_list, **inputs)

    def look(self, session: Any, **where: Any) -> torch.Tensor:
        """The masks on one frame at the size of the video."""
        with self.formats():
            return self.whole(self.model(inference_session=session, **where))

    def walk(self, session: Any, **options: Any) -> Masks:
        with self.formats():
            walk = self.model.propagate_in_video_iterator(session, **options)
            return {output.frame_idx: self.whole(output) for output in walk}

    def whole(self, output: Any) -> torch.Tensor:
        (masks,) = self.processor.post_process_masks([output.pred_masks], [[MINI_SIZE, MINI_SIZE]], binarize=False)
        return masks  # type: ignore[no-any-return]


@functools.cache
def ours() -> Kit:
    config = Sam2VideoConfig.from_pretrained("mini")
    return Kit(Sam2VideoModel(config, our_mini(torch.float64)), Sam2VideoProcessor.from_pretrained("mini"))


@functools.cache
def theirs() -> Kit:
    formats = functools.partial(in_formats, torch.float64, torch.float64)
    return Kit(mini_in(torch.float64), mini_processor(), formats)
