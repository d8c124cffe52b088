"""The life of one video in a worker: it is fetched, labeled frame by frame, and leaves finished, failed or given back.

Only the methods of `VideoInFlight` change a video. The worker asks for its next step, computes the step (perhaps
together with steps of other videos), hands the result in, and asks what an error means.
"""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial

import pyarrow as pa

from model import FrameResult, MediaError, Step
from pipeline.errors import InputError, NotFinite, StorageError, TableChanged, WorkerBroken, describe
from pipeline.inputs.prompts import VideoPrompts
from pipeline.output.rows import labeled_video
from pipeline.output.saved_sessions import SessionStore
from pipeline.output.segment_writer import LabeledVideo
from pipeline.records import Status, VideoProgress, WorkItem
from pipeline.redact import redact
from pipeline.reviews.keeping import DISCOVER, TABLE
from pipeline.storage.faults import is_from_client, is_from_full_disk, is_transient
from pipeline.text import no_row
from pipeline.worker.devices import free_memory, is_out_of_host_memory, is_out_of_memory, is_poisoned
from pipeline.worker.discovering import discovering
from pipeline.worker.equipment import Equipment
from pipeline.worker.fetch import Fetch, VideoInputs
from pipeline.worker.labeler import LabelOptions, Labels, Saving, Steps, failed_tracks
from pipeline.worker.rework import Rework, with_origin
from pipeline.worker.saving import SavingBeside

_log = logging.getLogger(__name__)

# So often the last masks of a video are looked for, a millisecond apart; then the worker waits for them.
_MOST_LOOKS = 100


@dataclass(frozen=True)
class GivenBack:
    """A video that leaves unlabeled through no fault of its own. `reason`: what storage or this disk said."""

    reason: str


class VideoInFlight:
    """One item and everything that a worker has of it, from `begin_fetch` on; `close` frees files and threads."""

    def __init__(self, item: WorkItem, equipment: Equipment, arrived: Callable[[], None] = lambda: None) -> None:
        """`arrived` is called, in a helper thread, when `is_ready` may have become true."""
        self.item = item
        self._equipment = equipment
        self._arrived = arrived
        self._now = equipment.stages.clock
        self._last_arrival = self._idle_since = self._now()
        self._steps: Steps[Labels] | None = None
        self._result: FrameResult | None = None
        self._last_step: Step | None = None
        self._saved_session: SavingBeside | None = None
        self._num_looks = self._num_passed = 0
        self._is_by_itself = False
        self._has_little_memory = False
        self._num_frames = 0
        self._is_computed = bytearray()  # by frame
        self._advance_seconds = 0.0
        self._labeling_since: float | None = None
        self._begun_fetch: Fetch | None = None

    def begin_fetch(self) -> None:
        """Fetch the video and decode its first frames, in helper threads. Does nothing when that has begun."""
        if self._begun_fetch is None:
            self._begun_fetch = Fetch(self.item, self._equipment, self._frame_arrived)
            self._begun_fetch.future.add_done_callback(lambda _: self._frame_arrived())

    # How far it is

    @property
    def _fetch(self) -> Fetch:
        if self._begun_fetch is None:
            raise RuntimeError(f"video {self.item.video_id!r} is not fetched: call begin_fetch first")
        return self._begun_fetch

    @property
    def is_ready(self) -> bool:
        """Whether `next_step` need not wait: the video is fetched, and the frames of the next group are decoded."""
        if self._steps is not None and not self._needs_a_group:
            return True
        frames = self._fetch.frames
        group = 1 if self._has_little_memory else self._equipment.network.encode_ahead
        return self._fetch.is_done and (frames is None or frames.ready(group))

    @property
    def has_begun(self) -> bool:
        """Whether anything of it was computed."""
        return self._labeling_since is not None

    @property
    def is_at_its_end(self) -> bool:
        """Whether all is computed and only the last masks are on their way. `next_step` looks whether they are here."""
        return self._num_looks > 0

    @property
    def is_by_itself(self) -> bool:
        """Whether it shares no batch with other videos, because an error in a batch does not say whose fault it is."""
        return self._is_by_itself

    def check_progress(self) -> None:
        """To be called while others wait for it. Raises `WorkerBroken` if fetching or decoding hangs.

        A fetch is told from a slow one by the processor time of its thread. Decoding moves as long as frames leave the
        decoder, also where none is labeled for a long time: where few are, or before a walk backward.
        """
        hang_seconds = self._equipment.settings.config.worker.hang_seconds
        if not self._fetch.is_done:
            self._idle_since = self._now()
            hangs, doing = self._equipment.fetcher.watch.hangs(), "fetching"
        else:
            frames = self._fetch.frames
            if frames is not None and frames.num_passed != self._num_passed:
                self._num_passed, self._last_arrival = frames.num_passed, self._now()
            hangs, doing = self._now() - max(self._idle_since, self._last_arrival) > hang_seconds, "decoding"
        if hangs:
            raise WorkerBroken(f"{doing} {self.item.video_id!r} hangs: nothing has moved for {hang_seconds:g} s")

    @property
    def _needs_a_group(self) -> bool:
        """Whether the next step begins a group of frames, see `model.tracking.frame_groups`."""
        size = 1 if self._has_little_memory else self._equipment.network.encode_ahead
        step = self._last_step
        if step is None:
            return True
        return step.frame.index % size == (size - 1 if step.direction > 0 else 0)

    def _frame_arrived(self) -> None:
        self._last_arrival = self._now()
        self._arrived()

    @property
    def saved_session(self) -> SessionStore | None:
        """Where it is saved in its middle; None before it is labeled."""
        return None if self._saved_session is None else self._saved_session.store

    def progress(self) -> VideoProgress:
        """How far it is, for the driver."""
        num_saved = 0 if self._saved_session is None else self._saved_session.num_saved
        is_fetching = self._begun_fetch is not None and not self._begun_fetch.is_done
        stage = "labeling" if self._steps is not None else "fetching" if is_fetching else "waiting"
        return VideoProgress(self.item.video_id, self._num_frames, stage, num_saved)

    # From frame to frame

    def next_step(self) -> Step | LabeledVideo | None:
        """The step that is to be computed next, the finished video, or None while its last masks are on their way.

        Waits for the fetch, and raises whatever fetching and labeling raise: `after_error` says what that means.
        """
        steps = self._start(self._fetch.inputs()) if self._steps is None else self._steps
        result, self._result = self._result, None
        try:
            step = steps.send(self._num_looks >= _MOST_LOOKS or None if result is None else result)
        except StopIteration as end:
            return self._finished(end.value)
        self._num_looks = self._num_looks + 1 if step is None else 0
        self._last_step = step
        return step

    def computed(self, result: FrameResult, seconds: float) -> bool:
        """Take the result of the last step. `seconds` are the video's share of the time that its batch took.

        Returns whether it is the first one of this frame.
        """
        self._result = result
        index = result.frame_index
        if index >= len(self._is_computed):
            self._is_computed.extend(bytes(index + 1 - len(self._is_computed)))
        is_new, self._is_computed[index] = not self._is_computed[index], True
        self._num_frames += 1
        self._advance_seconds += seconds
        self._idle_since = self._now()
        return is_new

    def ask_to_save(self) -> bool:
        """Have `next_step` save what is labeled. False: nothing is to be saved, or too little to be worth it."""
        return self._steps is not None and self._saved_session is not None and self._saved_session.ask()

    def go_alone(self) -> None:
        """Begin again from where it was saved, in batches of its own: an error in a shared batch may be its fault."""
        self._is_by_itself = True
        self._begin_again()

    # How it ends

    def after_error(self, error: Exception) -> LabeledVideo | GivenBack | None:
        """What an error of this video means: it has failed, it is given back, or (`None`) it begins again.

        Raises the error, or `WorkerBroken`, if the worker can go on with no video.
        """
        if isinstance(error, (MediaError, InputError)):
            return self.failed(error)
        if isinstance(error, NotFinite):
            if self._equipment.network.model.device.type == "cuda" and not self.item.alone:
                # A broken card computes such numbers, too. The driver tries the video again in another process, alone.
                raise WorkerBroken(f"video {self.item.video_id!r}, {error}") from error
            return self.failed(error)
        if is_poisoned(error):
            raise error
        if isinstance(error, StorageError) or is_transient(error) or is_from_client(error) or is_from_full_disk(error):
            return GivenBack(describe(error))
        if is_out_of_memory(error) and not self._has_little_memory and self._steps is not None:
            _log.warning("video %r: out of memory; it is labeled again, one object at a time", self.item.video_id)
            self._is_by_itself = self._has_little_memory = True
            self._begin_again()
            return None
        if is_out_of_host_memory(error):
            # Another video of this process may have used the memory up. A fresh process finds out whose fault it is.
            raise WorkerBroken(f"video {self.item.video_id!r}: {describe(error)}") from error
        return self.failed(error)

    def failed(self, error: Exception) -> LabeledVideo:
        """The rows that tell of the error. A fault of maskmill is logged with its traceback."""
        error_class, message = _explanation(error)
        if error_class == "internal":
            trace = redact("".join(traceback.format_exception(error)))
            _log.error("video %r: %s", self.item.video_id, trace)
        prompts = self._fetch.prompts
        return labeled_video(
            # No prompts have an empty hash, so the next run finds them changed and labels the video again.
            replace(self.item, prompt_hash="") if isinstance(error, TableChanged) else self.item,
            Status.FAILED,
            self._equipment.provenance,
            error=(error_class, message),
            tracks=self._with_origin(failed_tracks(self.item.video_id, prompts, message)) if prompts else None,
            facts=self._facts(),
        )

    def close(self) -> None:
        """Free files and threads, at once or when a fetch that is under way ends."""
        if self._steps is not None:
            self._steps.close()
        if self._begun_fetch is not None:
            self._begun_fetch.close()

    def _start(self, inputs: VideoInputs) -> Steps[Labels]:
        """Label from here on: from the first frame, or from where the video was saved."""
        if self._is_by_itself:
            free_memory()
        settings, network = self._equipment.settings, self._equipment.network
        self._saved_session = inputs.saved
        make_session = partial(
            network.new_session, propagate=settings.config.propagate, little_memory=self._has_little_memory
        )
        restore_session = partial(network.restored_session, little_memory=self._has_little_memory)
        options = LabelOptions(
            direction=settings.config.propagate.direction,
            max_objects=1 if self._has_little_memory else None,
            folder=self._equipment.folder.path,
            cuts=inputs.rework.cuts,
            shots=inputs.shots,
            at_end=partial(inputs.ends.settle, inputs.frames),
        )
        self._labeling_since = self._labeling_since or time.monotonic()
        label_steps = self._equipment.stages.label_steps
        if settings.config.discover is not None and inputs.rework.kept is None:
            new_session = partial(network.discovery_session, propagate=settings.config.propagate)
            found = inputs.rework.corrections.objects
            label_steps = discovering(
                label_steps, new_session, settings.config.discover, inputs.pictures, found, inputs.detections
            )
        self._steps = label_steps(
            make_session,
            self.item.video_id,
            inputs.rework.to_label,
            inputs.frames,
            options,
            Saving(inputs.saved, make_session, restore_session),
        )
        return self._steps

    def _begin_again(self) -> None:
        """Drop what is computed. Memory is freed by `_start`, because until then the error's traceback may hold it."""
        self._steps = self._result = self._last_step = None
        self._num_looks = 0

    def _finished(self, labels: Labels) -> LabeledVideo:
        inputs = self._fetch.inputs()
        rework = inputs.rework
        num_new = labels.masks.num_rows
        labels = rework.merged(replace(labels, tracks=self._with_origin(labels.tracks)))
        if (
            self.item.prompt_hash == ""
            and rework.shows_nothing
            and Status.OK not in labels.tracks["status"].to_pylist()
        ):
            return self._without_prompts()
        former = rework.kept.former.video if rework.kept else None
        remarks = inputs.frames.remarks()
        warning = "; ".join(filter(None, (labels.remark, *remarks)))
        video = labeled_video(
            self.item,
            Status.FAILED if labels.failure else Status.OK,
            self._equipment.provenance,
            error=("input", labels.failure) if labels.failure else ("", warning),
            masks=labels.masks,
            tracks=labels.tracks,
            expected_masks=labels.expected_masks,
            facts=self._facts()
            | inputs.ends.columns(inputs.frames, labels.masks, former)
            | {
                "num_frames": labels.num_frames,
                "propagate_seconds": labels.step_seconds + self._advance_seconds,
                "encode_seconds": labels.encode_seconds,
                "unexplained_share": labels.unexplained,
                "cuts_seconds": list(inputs.shots.cuts_seconds) or None,
            },
        )
        details = replace(video.outcome.details, num_masks_kept=labels.masks.num_rows - num_new)
        return replace(video, outcome=replace(video.outcome, details=details))

    def _without_prompts(self) -> LabeledVideo:
        """The row of a video that only masks of reviewers prompted, all of which were withdrawn."""
        message = no_row(are_detections=self._equipment.settings.config.detections is not None)
        return labeled_video(self.item, Status.NO_PROMPTS, self._equipment.provenance, error=("", message))

    def _with_origin(self, tracks: pa.Table) -> pa.Table:
        """Labeled tracks with the columns that say how they came about."""
        job = self._equipment.settings.job
        fetch = self._fetch
        done = fetch.inputs().rework if fetch.is_done and fetch.future.exception() is None else None
        rework = done or Rework(VideoPrompts(()), by=DISCOVER if self._equipment.settings.config.discover else TABLE)
        of_all = {"round": job.round, "labeled_at": datetime.now(UTC), "weights": job.weights.identity}
        return with_origin(tracks, of_all, {name: rework.columns(name) for name in tracks["object_id"].to_pylist()})

    def _facts(self) -> dict[str, object]:
        """Columns of `videos` that do not depend on how the video ended; times in seconds."""
        fetch, frames = self._fetch, self._fetch.frames
        labeling_seconds = time.monotonic() - self._labeling_since if self._labeling_since else 0.0
        known: dict[str, object] = {
            "kept": fetch.kept,
            "fetch_seconds": fetch.fetch_seconds,
            "decode_seconds": fetch.decode_seconds,
            "wall_seconds": fetch.fetch_seconds + fetch.decode_seconds + labeling_seconds,
        }
        if fetch.kept_since is not None:
            known["kept_since"] = fetch.kept_since
        if fetch.version is not None:
            known |= {"source_bytes": fetch.version.num_bytes, "source_version": fetch.version.version}
        if frames is None:
            return known
        return known | {
            "num_frames_decoded": frames.num_decoded,
            "num_frames_expected": frames.info.num_frames_claimed,
            "height": frames.info.size_hw[0],
            "width": frames.info.size_hw[1],
            "fps": frames.info.fps,
            "rotation_degrees": frames.info.display.rotation_degrees,
            "pixel_aspect": frames.info.display.pixel_aspect,
            "duration_seconds": frames.info.duration_seconds,
        }


def _explanation(error: Exception) -> tuple[str, str]:
    """Class and message of a failed video's row."""
    if isinstance(error, (MediaError, InputError)):
        return "input", redact(str(error))
    if isinstance(error, NotFinite):
        return "numbers", str(error)
    if is_out_of_memory(error):
        return "memory", f"out of memory, also with one object at a time ({describe(error)})"
    return "internal", f"{describe(error)}; this is a fault of maskmill, please report it"
