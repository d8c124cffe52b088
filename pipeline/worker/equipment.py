"""What a worker has once it has loaded: its model, its scratch folder, its helper threads, its writer.

`equip` loads all of it and returns a whole thing, or raises what keeps the worker from starting.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch

from model import (
    FrameBuffers,
    FrameResult,
    FrameSource,
    Media,
    Sam2,
    Step,
    VideoSession,
    advance,
    emulates_bfloat16,
    frames_per_batch,
    load_model,
    names_of_kernels,
    resize_frame,
    warm_up,
)
from pipeline.config.job_config import PropagateConfig
from pipeline.inputs.naming import InputNaming
from pipeline.inputs.prompts import VideoPrompts, read_prompts
from pipeline.inputs.table_readers import TableReaders
from pipeline.output.rows import Provenance
from pipeline.output.segment_files import SegmentOrigin
from pipeline.output.segment_writer import FlushPolicy, SegmentWriter
from pipeline.records import WorkItem
from pipeline.seeds.shots import LabeledFrames
from pipeline.storage.addresses import AddressRules
from pipeline.storage.parquet import RowReader
from pipeline.storage.retry import Backoff
from pipeline.storage.scratch import WorkerFolder
from pipeline.storage.uris import StorageOptions
from pipeline.video.media import open_media
from pipeline.worker.devices import (
    check_numbers,
    choose_device,
    compute_exactly,
    describe_device,
    prepare_allocator,
    prepare_model,
)
from pipeline.worker.labeler import LabelOptions, Labels, MakeSession, Saving, Steps, label_steps
from pipeline.worker.local_weights import local_weights
from pipeline.worker.publisher import Publisher
from pipeline.worker.settings import WorkerSettings
from pipeline.worker.watchdog import WatchedThreads

_log = logging.getLogger(__name__)


class ReadPrompts(Protocol):
    """The prompts of one video; see `pipeline.inputs.prompts.read_prompts`."""

    def __call__(
        self, item: WorkItem, storage_options: StorageOptions, rows: RowReader, keep: Sequence[str], /
    ) -> VideoPrompts: ...


class OpenMedia(Protocol):
    """The bytes of one video while a context is open; see `pipeline.video.media.open_media`."""

    def __call__(
        self,
        item: WorkItem,
        storage_options: StorageOptions,
        rows: RowReader,
        backoff: Backoff,
        /,
        *,
        scratch: Path,
        rules: AddressRules,
    ) -> AbstractContextManager[Media]: ...


class LabelSteps(Protocol):
    """The steps of one video; see `pipeline.worker.labeler.label_steps`."""

    def __call__(
        self,
        make_session: MakeSession,
        video_id: str,
        prompts: VideoPrompts,
        frames: LabeledFrames,
        options: LabelOptions,
        saving: Saving | None,
        /,
    ) -> Steps[Labels]: ...


@dataclass(frozen=True)
class Network:
    """The model on its device. `device` says in words what it runs on.

    `encode_ahead` is the number of frames of one video that the image encoder takes at a time, `videos_in_flight` that
    of the videos that are labeled at the same time.
    """

    model: Sam2
    device: str
    encode_ahead: int
    buffers: FrameBuffers
    videos_in_flight: int = 1
    attention: str = ""

    @property
    def computed_by(self) -> str:
        """The device, and the kernels that decide the last bits of attention on it, for the column `versions`."""
        return f"{self.device}, attention by {self.attention}" if self.attention else self.device

    def resize(self, pixels_HW3: torch.Tensor) -> torch.Tensor:
        """A frame as the network takes it. Runs in helper threads."""
        return resize_frame(pixels_HW3, self.model.config.image_size)

    def new_session(self, frames: FrameSource, propagate: PropagateConfig, *, little_memory: bool) -> VideoSession:
        """A session that follows objects through `frames`. With little memory it encodes 1 frame at a time."""
        return VideoSession(
            self.model,
            frames,
            max_prompted_memories=propagate.max_prompted_memories,
            encode_ahead=1 if little_memory else self.encode_ahead,
        )

    def discovery_session(self, frames: FrameSource, propagate: PropagateConfig) -> VideoSession:
        """A session without objects that shares the features of each frame with a search for new ones."""
        bound = propagate.max_prompted_memories
        return VideoSession(self.model, frames, max_prompted_memories=bound, num_cached_frames=1)

    def restored_session(self, state: bytes, frames: FrameSource, *, little_memory: bool) -> VideoSession:
        """A session as it was saved. Raises `ValueError` for a state that does not fit this model or these frames.

        It encodes as many frames at a time as when it was saved, because that number decides the last bits of masks.
        With little memory it encodes 1 all the same.
        """
        session = VideoSession.from_bytes(state, self.model, frames, encode_ahead=self.encode_ahead)
        if little_memory:
            session.encode_ahead = 1
        return session


def load_network(settings: WorkerSettings) -> Network:
    """The model as a job wants it, on its device. Raises whatever keeps it from loading."""
    torch.set_num_threads(settings.config.cluster.cpus_per_actor)
    prepare_allocator()
    device, dtype = choose_device(settings.config.model)
    if settings.job.numbers_are_resolved:
        check_numbers(settings.config.model, device)
    if dtype == torch.bfloat16 or settings.config.model.dtype == "autocast":
        _warn_of_emulation(settings.config.model.dtype, device)
    if settings.config.model.dtype != "autocast":
        compute_exactly(device, dtype)
    weights = settings.job.weights
    source = local_weights(weights, settings.config.storage_options)
    model = load_model(source, device=device, dtype=dtype, revision=weights.revision)
    model, worker = prepare_model(model, settings.config.model), settings.config.worker
    size, in_flight = model.config.image_size, worker.in_flight(device.type == "cuda")
    if settings.config.model.compile:
        _log.info("the network is %s", warm_up(model, worker.warm_up_seconds, share_batches=in_flight > 1))
    return Network(
        model=model,
        device=describe_device(device, dtype, settings.config.model),
        encode_ahead=frames_per_batch(device, model.config.grid_size**2),
        buffers=FrameBuffers((size, size, 3), device),
        videos_in_flight=in_flight,
        attention=names_of_kernels(device),
    )


def _warn_of_emulation(asked: str, device: torch.device) -> None:
    if emulates_bfloat16(device):
        _log.warning(
            "model.dtype=%s, and this CPU has no instructions for bfloat16: products are computed in float32 and "
            "rounded, which is slower than float32 and less exact; give model.dtype=float32 in a new job",
            asked,
        )


@dataclass(frozen=True)
class Stages:
    """The functions that load the network and through which each video goes, in this order.

    A test passes others that keep the contract.
    """

    load_network: Callable[[WorkerSettings], Network] = load_network
    read_prompts: ReadPrompts = read_prompts
    open_media: OpenMedia = open_media
    label_steps: LabelSteps = label_steps
    advance: Callable[[Sequence[Step]], list[FrameResult]] = advance
    clock: Callable[[], float] = time.monotonic
    """By which fetching and decoding hang."""


@dataclass(frozen=True)
class Equipment:
    """Everything that a worker labels with. `close` deletes what lies on this machine's disk."""

    settings: WorkerSettings
    stages: Stages
    network: Network
    provenance: Provenance
    folder: WorkerFolder
    tables: TableReaders
    fetcher: WatchedThreads
    publisher: Publisher

    def close(self) -> None:
        """Delete the scratch folder and close the input tables. A fetch that hangs is left alone."""
        self.fetcher.close()
        self.tables.close()
        self.publisher.close()
        self.folder.close()


def equip(settings: WorkerSettings, worker_id: str, stages: Stages) -> Equipment:
    """Load the model and make everything else that a worker needs. Raises whatever keeps it from loading."""
    job = settings.job
    network = stages.load_network(settings)
    folder = WorkerFolder(settings.config.worker.spool_dir)
    policy = FlushPolicy.of(settings.config.flush, settings.config.cluster)
    origin = SegmentOrigin(job.epoch, worker_id, job.config_hash)
    # Two fetches, because the next video is fetched while one waits for a slow store or looks for a late prompt.
    return Equipment(
        settings=settings,
        stages=stages,
        network=network,
        provenance=Provenance(worker_id, str(job.weights), job.config_hash, f"{job.versions}, {network.computed_by}"),
        folder=folder,
        tables=TableReaders(InputNaming.of(settings.config)),
        fetcher=WatchedThreads(
            "fetch", settings.config.worker.hang_seconds, max(2, network.videos_in_flight), stages.clock
        ),
        publisher=Publisher(SegmentWriter(job.storage, folder.path, origin, policy), max(1, policy.max_bytes)),
    )
