"""Corrections of one job: its network, loaded once, the videos that are open, and the corrections that are under way.

Reviewers share the network, which computes for one of them at a time. What they have looked at longest ago is closed.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from threading import RLock
from typing import TYPE_CHECKING

from model import MediaError, VideoSession
from pipeline.errors import CannotMend, NotInJob, OtherFile, WasClosed
from pipeline.mending.clip_frames import ClipFrames
from pipeline.mending.correction import Correction
from pipeline.mending.job_network import JobNetwork, load_job_network
from pipeline.mending.known_masks import find_end, look_up
from pipeline.mending.recalled import mask_here, recall_object
from pipeline.reviews.corrections import read_corrections
from pipeline.storage.job_storage import JobStorage
from pipeline.tables import JobTables

if TYPE_CHECKING:
    from pipeline.notebook.clip import Clip

_MOST_VIDEOS = 4
_MOST_CORRECTIONS = 64
_MOST_ZOOMS = 8  # regions that are kept encoded, for as many reviewers
_CACHED_FRAMES = 48
_ENCODED_AHEAD = 8


class Mender:
    """See the module. `job` and `clip` give the tables as they are read now, and a video of them.

    Methods may be called in any thread.
    """

    def __init__(
        self,
        storage: JobStorage,
        job: Callable[[], JobTables],
        clip: Callable[[str], Clip],
        load: Callable[[JobStorage], JobNetwork] = load_job_network,
    ) -> None:
        self._storage = storage
        self._job = job
        self._clip = clip
        self._load = load
        self._lock = RLock()
        self._network: JobNetwork | None = None
        self._videos: OrderedDict[str, _OpenVideo] = OrderedDict()
        self._corrections: OrderedDict[str, Correction] = OrderedDict()
        self._ahead = ThreadPoolExecutor(1, thread_name_prefix="features ahead")

    def network(self) -> JobNetwork:
        """The network of the job, which the first call loads. Raises like `load_job_network`."""
        with self._lock:
            if self._network is None:
                self._network = self._load(self._storage)
            return self._network

    def open(self, video_id: str, object_id: int, frame_index: int) -> Correction:
        """A correction of an object on a frame. An id that the video does not have is an object that is added.

        The mask is that of the newest correction of this frame, or else that of the job. Raises `CannotMend` where the
        weights or the video are gone or others now, and for an object that failed; `NotInJob` for a video or a frame
        without masks; `StorageError` if the store does not answer.
        """
        network = self.network()
        said = read_corrections(self._storage).get(video_id, ())
        with self._lock:
            try:
                opened = self._video(video_id, network)
                frames = opened.frames
                place = frames.place_of(frame_index)
                known = look_up(self._job(), frames, object_id, place, network.direction, said)
                session = opened.session.fork()
                recall_object(session, known)
                session.encode([place])
                end = find_end(frames, object_id, place, said)
                correction = Correction(session, frames, known, mask_here(session, known), end, self._lock)
            except (MediaError, OtherFile) as error:
                raise CannotMend(str(error)) from error
            self._corrections[correction.id] = correction
            self._close_too_many()
        self._encode_ahead(opened, place)
        return correction

    def correction(self, correction_id: str) -> Correction:
        """One that is under way. Raises `WasClosed` for one that was closed, because many others came after it."""
        with self._lock:
            if correction_id not in self._corrections:
                raise WasClosed("this correction was closed meanwhile: open the frame again")
            self._corrections.move_to_end(correction_id)
            found = self._corrections[correction_id]
            for older in list(self._corrections.values())[:-_MOST_ZOOMS]:
                older.forget_zoom()
            if found.video_id in self._videos:
                self._videos.move_to_end(found.video_id)
            return found

    def forget(self, correction_id: str) -> None:
        """Close a correction."""
        with self._lock:
            self._corrections.pop(correction_id, None)

    def close(self) -> None:
        """End the helper thread."""
        self._ahead.shutdown(cancel_futures=True)

    def wait(self) -> None:
        """Until no frame is left to encode ahead."""
        for opened in list(self._videos.values()):
            for future in list(opened.encoding):
                future.result()

    def _close_too_many(self) -> None:
        """Of too many corrections those leave first that have nothing unsaved, and the oldest of them before others."""
        while len(self._corrections) > _MOST_CORRECTIONS:
            *older, _ = self._corrections.values()
            gone = next((one for one in older if not one.has_unsaved), older[0])
            del self._corrections[gone.id]

    def _video(self, video_id: str, network: JobNetwork) -> _OpenVideo:
        clip = self._clip(video_id)
        found = self._videos.get(video_id)
        if found is None or not found.frames.are_of(clip):
            if found is not None:  # the job has labeled it again
                self._close(found)
            found = self._videos[video_id] = _OpenVideo(clip, network)
        self._videos.move_to_end(video_id)
        while len(self._videos) > _MOST_VIDEOS:
            self._close(self._videos.popitem(last=False)[1])
        return found

    def _close(self, video: _OpenVideo) -> None:
        """Let go of frames and features. Corrections with something unsaved go on: they make anew what they need.

        Without this, each of 64 corrections could keep a video of its own, with the features of 48 frames.
        """
        for one in [one for one in self._corrections.values() if one.is_of(video.frames)]:
            if one.has_unsaved:
                one.forget_zoom()
            else:
                del self._corrections[one.id]
        video.close()

    def _encode_ahead(self, opened: _OpenVideo, place: int) -> None:
        """Encode the frames after and before a place in another thread, one at a time, until another place is asked."""
        near = [place + 1, place - 1, *range(place + 2, place + _ENCODED_AHEAD)]
        wanted = [at for at in near if 0 <= at < len(opened.frames.indexes)]
        for future in opened.encoding:
            future.cancel()
        with suppress(RuntimeError):  # the server ends
            opened.encoding = [self._ahead.submit(self._encode, opened, at) for at in wanted]

    def _encode(self, opened: _OpenVideo, place: int) -> None:
        # A fault shows when its frame is asked for.
        with suppress(MediaError, OtherFile, NotInJob), self._lock:
            if not opened.is_closed:
                opened.session.encode([place])


class _OpenVideo:
    """The frames of one video, and a session without objects that keeps the features of some of them."""

    def __init__(self, clip: Clip, network: JobNetwork) -> None:
        self.frames = ClipFrames(clip, network.model.config.image_size)
        self.session = VideoSession(
            network.model,
            self.frames,
            max_prompted_memories=network.max_prompted_memories,
            num_cached_frames=_CACHED_FRAMES,
        )
        self.encoding: list[Future[None]] = []
        self.is_closed = False

    def close(self) -> None:
        """Nothing is encoded ahead any more, and what is kept goes."""
        self.is_closed = True
        for future in self.encoding:
            future.cancel()
        self.session.forget_features()
        self.frames.forget()
