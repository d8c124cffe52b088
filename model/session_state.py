"""What a session remembers, as plain tensors and a plain document: to be saved, and to go on from in another process.

The prompts themselves are not in it: whoever restores a session adds them first. What is restored is bit for bit what
was there, so that on the same kind of device, with the same threads, the masks are the same bits as without the stop.

Legend: C channels of a pointer, L tokens of a map, M memory channels; tensors are named `object id/kind/frame index`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from model.memory_bank import Memory
from model.sam2 import Segmentation
from model.tracking import Position, TrackedObject
from model.video import VideoSession

_VERSION = 1
_DOCUMENT = "session"


class StateMismatch(ValueError):
    """A saved session does not belong to the prompts, the video or the model that it is restored for."""


@dataclass(frozen=True)
class SessionState:
    """A session in the middle of a walk. `headings`: by object, direction of its walk and the frame that comes next."""

    position: Position
    max_pointers: int
    prompted: dict[int, tuple[int, ...]]
    headings: dict[int, tuple[int, int] | None]
    tensors: dict[str, Tensor]

    def to_bytes(self) -> bytes:
        """As a safetensors file."""
        document = {
            "version": _VERSION,
            "position": asdict(self.position),
            "max_pointers": self.max_pointers,
            "prompted": [[object_id, list(frames)] for object_id, frames in self.prompted.items()],
            "headings": [[object_id, heading] for object_id, heading in self.headings.items()],
        }
        tensors = {name: tensor.contiguous() for name, tensor in self.tensors.items()}
        return save_tensors(tensors, metadata={_DOCUMENT: json.dumps(document)})

    @staticmethod
    def from_bytes(data: bytes) -> SessionState:
        """The inverse of `to_bytes`. Raises `StateMismatch` for anything else."""
        try:
            length = int.from_bytes(data[:8], "little")
            document = json.loads(json.loads(data[8 : 8 + length])["__metadata__"][_DOCUMENT])
            if document["version"] != _VERSION:
                raise StateMismatch(f"a session saved as version {document['version']}; this program knows {_VERSION}")
            return SessionState(
                Position(**document["position"]),
                document["max_pointers"],
                {object_id: tuple(frames) for object_id, frames in document["prompted"]},
                {object_id: None if at is None else (at[0], at[1]) for object_id, at in document["headings"]},
                load_tensors(data),
            )
        except StateMismatch:
            raise
        except Exception as error:
            raise StateMismatch(f"not a saved session: {error}") from error


def session_state(session: VideoSession) -> SessionState:
    """What a session remembers now, between two frames of a walk. Its tensors are copies on the host.

    Raises `ValueError` for a session with a history, or one that is not on a walk.
    """
    if session.history is not None or session.position is None:
        raise ValueError("only a session on a walk and without history has a state to save")
    tensors: dict[str, Tensor] = {}
    for tracked in session.objects.values():
        tensors.update({f"{tracked.object_id}/{name}": tensor for name, tensor in _tensors(tracked).items()})
    return SessionState(
        session.position,
        session.max_pointers,
        {object_id: tuple(sorted(tracked.prompts)) for object_id, tracked in session.objects.items()},
        {object_id: tracked.heading for object_id, tracked in session.objects.items()},
        {name: tensor.detach().to("cpu", copy=True) for name, tensor in tensors.items()},
    )


def restore_session(session: VideoSession, state: SessionState) -> None:
    """Puts a fresh session, whose prompts have been added, where the saved one stood; go on with `resume=True`.

    Raises `StateMismatch`, and changes nothing, where the state is of other prompts or another video.
    """
    prompted = {object_id: tuple(sorted(tracked.prompts)) for object_id, tracked in session.objects.items()}
    if prompted != state.prompted or list(prompted) != list(state.prompted):
        raise StateMismatch("the saved session has other prompts")
    if session.max_pointers != state.max_pointers:
        raise StateMismatch("the saved session is of a video of another length")
    by_object: dict[int, dict[str, Tensor]] = {object_id: {} for object_id in prompted}
    for name, tensor in state.tensors.items():
        owner, _, rest = name.partition("/")
        by_object[int(owner)][rest] = tensor
    for object_id, tracked in session.objects.items():
        _restore(tracked, by_object[object_id], session)
        tracked.heading = state.headings[object_id]
    session.position = state.position


def _tensors(tracked: TrackedObject) -> Mapping[str, Tensor]:
    memories, spatial, pointers = tracked.bank.contents()
    tensors = {f"tracked/{index}": tensor for index, tensor in spatial.items()}
    tensors.update({f"pointer/{index}": tensor for index, tensor in pointers.items()})
    for index, memory in memories.items():
        tensors[f"prompted/{index}"] = memory.spatial
        tensors[f"prompted_pointer/{index}"] = memory.pointer
    for index, said in tracked.prompts.items():
        if said.segmentation is not None:
            tensors.update({f"seed_{name}/{index}": getattr(said.segmentation, name) for name in _SEED_PARTS})
    return tensors


_SEED_PARTS = ("logits_BHW", "object_scores_B", "predicted_ious_B", "pointers_BC")


def _restore(tracked: TrackedObject, tensors: Mapping[str, Tensor], session: VideoSession) -> None:
    def kind(name: str, device: torch.device) -> dict[int, Tensor]:
        found = ((key.partition("/"), tensor) for key, tensor in tensors.items())
        return {int(index): tensor.to(device) for (head, _, index), tensor in found if head == name}

    kept, device = session.state_device, session.model.device
    pointers = kind("prompted_pointer", device)
    memories = {index: Memory(index, spatial, pointers[index]) for index, spatial in kind("prompted", kept).items()}
    tracked.bank.set_contents(memories, kind("tracked", kept), kind("pointer", device))
    seeds = {name: kind(f"seed_{name}", device) for name in _SEED_PARTS}
    for index in seeds["logits_BHW"]:
        tracked.prompts[index].segmentation = Segmentation(**{name: seeds[name][index] for name in _SEED_PARTS})
