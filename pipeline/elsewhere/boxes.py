"""The mask of a box, from the job's own network, as a box of the page of reviews gives it."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from pipeline.elsewhere.shapes import BoxShape
from pipeline.errors import CannotMend, ConfigError, NotInJob
from pipeline.mending.correction import rle_of
from pipeline.mending.mender import Mender

if TYPE_CHECKING:
    from pipeline.notebook.clip import Clip
    from pipeline.storage.job_storage import JobStorage
    from pipeline.tables import JobTables

Boxes = list[tuple[str, int, int, BoxShape]]
"""Video, object and frame with a box in pixels."""


def masks_of_boxes(storage: JobStorage, job: JobTables, boxes: Boxes, videos_root: str | None) -> list[str | None]:
    """COCO's counts of the mask of each box; None where the network finds nothing in it.

    Raises `ConfigError` where the weights or a video are gone or others now, and `StorageError`.
    """

    def clip(video_id: str) -> Clip:
        return job.video(video_id, videos_root=videos_root, rejected=True)

    found: list[str | None] = []
    with closing(Mender(storage, lambda: job, clip)) as mender:
        for video_id, object_id, frame_index, box in boxes:
            try:
                correction = mender.open(video_id, object_id, frame_index)
                rle = rle_of(correction.box(box))
            except (CannotMend, NotInJob) as error:
                raise ConfigError(
                    f"the box of object {object_id} on frame {frame_index} of video {video_id!r} cannot become a mask: "
                    f"{error}. boxes=skip leaves boxes out"
                ) from error
            mender.forget(correction.id)
            found.append(None if rle is None else str(rle["counts"]))
    return found
