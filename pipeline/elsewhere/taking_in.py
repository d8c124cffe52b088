"""What people said in CVAT or Label Studio becomes rows below `reviews/`: only what is new, and once.

Rows carry the id of the handout. A document says all that its author says of it: what an earlier one had said and this
one does not is withdrawn.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pipeline import tables
from pipeline.elsewhere.account import Account
from pipeline.elsewhere.alike import known_as, says_the_same
from pipeline.elsewhere.comparing import AddedObject, Change, Reading, SaidOfTrack, SaidOfVideo, compare
from pipeline.elsewhere.reading import Documents
from pipeline.elsewhere.returned import Returned, State
from pipeline.elsewhere.written import Written
from pipeline.errors import InputError
from pipeline.reviews.corrections import Kind, write_corrections
from pipeline.reviews.handouts import HandedVideo
from pipeline.reviews.history import Row, said_again
from pipeline.reviews.keeping import labeled_at
from pipeline.reviews.object_ids import claim_object_id
from pipeline.reviews.reviewers import user_name
from pipeline.reviews.times import GRAIN, after
from pipeline.reviews.verdicts import Verdict, write_verdicts
from pipeline.storage.job_storage import JobStorage
from pipeline.tables import JobTables

_COMMENTS = "; "  # between comments


@dataclass(frozen=True)
class ReviewWishes:
    """How documents are taken in. `reviewer` is who reviewed; None is whom a document names, else this machine's user.

    `is_done`: tracks that went out and that nobody touched are good. `takes_all_deleted`: a document without any of its
    tracks rejects them. `decodes_boxes`: the job's network makes masks of boxes; False leaves them out.
    """

    reviewer: str | None = None
    is_done: bool = False
    takes_all_deleted: bool = False
    decodes_boxes: bool = True
    videos_root: str | None = None


def take_in(storage: JobStorage, documents: Documents, wishes: ReviewWishes, now: datetime | None = None) -> Account:
    """Write what documents say that is not written yet.

    Nothing is written of a document in which something is wrong. Raises `InputError` naming what that is, `ConfigError`
    where a box cannot become a mask, and `StorageError`; the same call goes on.
    """
    account = Account()
    # A name of a review is random, so that a store without create-only writes takes it as well.
    storage.single_driver = not storage.supports_create
    job = tables.open(storage.uri, storage.storage_options)
    for returned in documents:
        _Taking(storage, job, returned, documents, wishes, account, now or datetime.now(UTC)).take()
    return account


class _Taking:
    """Takes in what one author says of one handout."""

    def __init__(
        self,
        storage: JobStorage,
        job: JobTables,
        returned: Returned,
        documents: Documents,
        wishes: ReviewWishes,
        account: Account,
        now: datetime,
    ) -> None:
        self._storage = storage
        self._job = job
        self._returned = returned
        self._handout = documents.handout(returned.handout)
        self._wishes = wishes
        self._account = account
        self._at = min(returned.author.at or now, now)
        self._reviewer = (wishes.reviewer or returned.author.name or user_name()).strip()
        self._written = Written(storage, returned.handout, self._reviewer)
        self._corrections: list[dict[str, Any]] = []
        self._again: list[dict[str, Any]] = []  # corrections of others that count again
        self._verdicts: list[dict[str, Any]] = []

    def take(self) -> None:
        """Compare all videos, then write."""
        for back in self._returned.videos:
            handed = self._handout.videos.get(back.video)
            if handed is None:
                raise InputError(
                    f"{back.place}: video {back.video!r} did not go out in this export, but "
                    f"{', '.join(sorted(self._handout.videos)[:5])}"
                )
            wishes = self._wishes
            is_done = wishes.is_done or back.state is State.DONE
            reading = Reading(is_done, wishes.takes_all_deleted, self._handout.is_whole)
            self._take_video(handed, compare(handed, back, reading))
        self._decode_boxes()
        self._write()

    def _take_video(self, handed: HandedVideo, said: SaidOfVideo) -> None:
        self._account.left_out.update(said.left_out)
        if said.is_left_out:
            return
        now = _tracks_of_now(self._job, handed)
        common = {
            "video_id": handed.video_id,
            "reviewer": self._reviewer,
            "labeled_at": handed.labeled_at,
            "handout": self._handout.id,
        }
        wanted: dict[tuple[int, int], dict[str, Any]] = {}
        for object_id, track in said.tracks.items():
            self._tell_of_track(handed, object_id, now)
            changes = self._followed(handed, object_id, track, now, said.frames)
            for frame, change in changes.items():
                wanted[object_id, frame] = common | _row(object_id, frame, change)
            if track.verdict is not None:
                words = {"verdict": track.verdict.value, "comment": track.comment, "category": track.category}
                self._say(handed, object_id, words, common, is_whole=_is_told_whole(handed, object_id, said))
        self._withdraw_verdicts(handed, said, common)
        self._add(handed, said, common, wanted, now)
        self._keep_new(handed, wanted, common, said.frames)
        self._account.videos.add(handed.video_id)

    def _tell_of_track(self, handed: HandedVideo, object_id: int, now: Mapping[int, Row]) -> None:
        """Tell where the labels are others now, and where somebody else has spoken since."""
        name = f"object {object_id} of video {handed.video_id!r}"
        row = now.get(object_id)
        if row is None:
            self._account.messages.append(f"{name} is no track any more; what is said of it waits until it is")
        elif handed.labeled_at is not None and row["labeled_at"] > handed.labeled_at:
            self._account.messages.append(
                f"{name} was labeled again since it went out: its verdict is one of the earlier masks and does not "
                "count for those of now; frames that were corrected do"
            )
        if other := self._written.later((handed.video_id, object_id), self._at):
            self._account.messages.append(f"{other} has spoken of {name} later, and the later word counts")

    def _followed(
        self,
        handed: HandedVideo,
        object_id: int,
        track: SaidOfTrack,
        now: Mapping[int, Row],
        told: Collection[int],
    ) -> Mapping[int, Change]:
        """The changes; without those that would leave no frame that says where the object is."""
        frames = (now[object_id]["prompt_frames"] or ()) if object_id in now else ()
        prompted = self._written.prompted((handed.video_id, object_id), frames, told)
        changes = track.changes_with(prompted)
        hidden = {frame for frame, change in changes.items() if change.is_hidden}
        if not prompted or prompted - hidden or changes.keys() - hidden:
            return changes
        self._account.messages.append(
            f"object {object_id} of video {handed.video_id!r} is hidden on every frame that says where it is "
            f"({', '.join(map(str, sorted(prompted)))}), and no run could follow it: it is left as it was there. Give "
            "it a mask on another frame, or reject it"
        )
        return {frame: change for frame, change in changes.items() if frame not in prompted}

    def _say(
        self,
        handed: HandedVideo,
        object_id: int,
        words: Mapping[str, str | None],
        common: Mapping[str, Any],
        *,
        is_whole: bool,
    ) -> None:
        before = self._written.verdicts.get((handed.video_id, object_id))
        if not is_whole:
            words = _with_words_before(words, before)
        if before is not None and all(before[name] == value for name, value in words.items()):
            return
        is_audit = handed.tracks[object_id].is_audit
        row = {**common, **words, "object_id": object_id, "is_audit": is_audit}
        # One job of a task may have been done before the other: what it adds is no older word.
        adds = not is_whole and before is not None and before["verdict"] == words["verdict"]
        self._verdicts += self._timed(row, before, adds=adds)

    def _withdraw_verdicts(self, handed: HandedVideo, said: SaidOfVideo, common: Mapping[str, Any]) -> None:
        """Verdicts that an earlier document said and this one does not, which has all frames of their track.

        A `fix` goes also with the last of its corrections. Only a verdict that counts now is withdrawn. What others
        have said before counts again, by the row behind it.
        """
        for key, row in self._written.verdicts.items():
            video_id, object_id = key
            if video_id != handed.video_id or object_id in said.tracks or row["verdict"] == Verdict.WITHDRAW:
                continue
            is_over = _is_told_whole(handed, object_id, said) or self._loses_corrections(key, row, said)
            if not is_over or not self._written.verdict_counts(key):
                continue
            again = {**common, "object_id": object_id, "verdict": Verdict.WITHDRAW.value}
            for gone in self._timed(again, row):
                self._verdicts.append(gone)
                if (other := self._written.verdict_of_others(key)) is not None:
                    self._verdicts.append(said_again(other) | {"reviewed_at": gone["reviewed_at"]})
                    self._tell_again(other, f"object {object_id}")

    def _loses_corrections(self, key: tuple[str, int], row: Row, said: SaidOfVideo) -> bool:
        """Whether a `fix` was said by corrections alone, and a document that is silent has the last frames of them."""
        corrected = self._written.corrected(key)
        is_of_them = row["verdict"] == Verdict.FIX and not row["comment"] and not row["category"]
        return is_of_them and bool(corrected) and corrected <= said.frames

    def _tell_again(self, row: Row, what: str) -> None:
        self._account.messages.append(f"what {row['reviewer']} has said of {what} counts again")

    def _timed(self, row: dict[str, Any], before: Row | None, *, adds: bool = False) -> list[dict[str, Any]]:
        """A row with its time, after that of the one which it takes the place of; none if that was said later.

        One that only `adds` to that one takes its place all the same.
        """
        at = self._at.replace(microsecond=self._at.microsecond // 1000 * 1000)  # as files have it
        if before is not None and before["reviewed_at"] > at + GRAIN and not adds:
            self._account.left_out["older than what was taken in already"] += 1
            return []
        return [{**row, "reviewed_at": after([] if before is None else [before["reviewed_at"]], at)}]

    def _add(
        self,
        handed: HandedVideo,
        said: SaidOfVideo,
        common: Mapping[str, Any],
        wanted: dict[tuple[int, int], dict[str, Any]],
        now: Mapping[int, Row],
    ) -> None:
        """Rows of objects that the job does not have, under ids that nobody else gets; those of before keep theirs."""
        before = self._written.added(handed.video_id, handed.tracks)
        for one in said.added:
            object_id = known_as(one, before, handed.size_hw)
            if object_id is None:
                first = self._written.first_free_id(handed.video_id, [*now, *handed.tracks])
                object_id = claim_object_id(self._storage, handed.video_id, first, self._reviewer)
                self._account.num_added += 1
                self._tell_of_sisters(handed, object_id, one, said, before)
            else:
                before.pop(object_id)
            more = {"category": one.category, "split_from": one.split_from}
            for frame, change in one.changes.items():
                wanted[object_id, frame] = {**common, **_row(object_id, frame, change), **more}

    def _tell_of_sisters(
        self,
        handed: HandedVideo,
        object_id: int,
        new: AddedObject,
        said: SaidOfVideo,
        before: Mapping[int, Mapping[int, Row]],
    ) -> None:
        """Tell that an object that was added may be one of an earlier document with other frames of the video."""
        for other, rows in before.items():
            is_elsewhere = said.frames.isdisjoint(rows)
            if is_elsewhere and all(row["category"] == new.category for row in rows.values()):
                self._account.messages.append(
                    f"object {object_id} of video {handed.video_id!r} was added on other frames than object {other} of "
                    "the same label: if they are one, take in the file of the task and not those of its jobs"
                )

    def _keep_new(
        self,
        handed: HandedVideo,
        wanted: Mapping[tuple[int, int], dict[str, Any]],
        common: Mapping[str, Any],
        frames: Collection[int],
    ) -> None:
        """Of the rows that are wanted those that are not written; withdrawals of those that no one wants any more."""
        for (object_id, frame), row in wanted.items():
            before = self._written.corrections.get((handed.video_id, object_id, frame))
            if before is None or not says_the_same(before, row):
                self._corrections += self._timed({**row, "size": handed.size_hw}, before)
        for key, before in self._written.corrections.items():
            video_id, object_id, frame = key
            is_wanted = video_id != handed.video_id or frame not in frames or (object_id, frame) in wanted
            if is_wanted or not self._written.newest_is_mine(key):
                continue
            gone = [dict(before)]  # an intake that was cut short has withdrawn it and no more
            if before["kind"] != Kind.WITHDRAW:
                row = {"object_id": object_id, "frame_index": frame, "kind": Kind.WITHDRAW.value}
                gone = self._timed({**common, **row}, before)
                self._corrections += gone
            other = self._written.correction_of_others(key)
            if gone and other is not None:
                self._again.append(said_again(other) | {"reviewed_at": gone[0]["reviewed_at"] + GRAIN})
                self._tell_again(other, f"object {object_id} on frame {frame}")

    def _decode_boxes(self) -> None:
        """Give each row with a box its mask; one of which the network makes none is left out."""
        rows = [row for row in self._corrections if row["kind"] == Kind.MASK and row.get("counts") is None]
        if not rows:
            return
        if not self._wishes.decodes_boxes:
            self._account.left_out["boxes, as boxes=skip says"] += len(rows)
            masks: list[str | None] = [None] * len(rows)
        else:
            from pipeline.elsewhere.boxes import masks_of_boxes  # torch takes 2 seconds to import

            boxes = [(row["video_id"], row["object_id"], row["frame_index"], tuple(row["box_xyxy"])) for row in rows]
            masks = masks_of_boxes(self._storage, self._job, boxes, self._wishes.videos_root)
            self._account.left_out["boxes in which the network finds nothing"] += masks.count(None)
        for row, counts in zip(rows, masks, strict=True):
            row["counts"] = counts
        self._corrections = [row for row in self._corrections if row["kind"] != Kind.MASK or row["counts"] is not None]

    def _write(self) -> None:
        account = self._account
        rows = [_without_counts(row) for row in self._corrections]
        kinds = Counter(row["kind"] for row in rows)
        if rows:
            write_corrections(self._storage, rows)
        if self._again:
            # In a file of their own: what stands before them there is that nothing counts, should somebody take them
            # back in the page.
            write_corrections(self._storage, self._again)
        if self._verdicts:
            seconds = self._returned.author.seconds
            share = None if seconds is None else seconds / len(self._verdicts)
            write_verdicts(self._storage, [{**row, "seconds": share} for row in self._verdicts])
        account.frames.update(kinds)
        account.verdicts.update(row["verdict"] for row in self._verdicts)
        account.reviewers.add(self._reviewer)


def _is_told_whole(handed: HandedVideo, object_id: int, said: SaidOfVideo) -> bool:
    """Whether the document has all frames on which a track went out."""
    shapes = handed.tracks[object_id].shapes if object_id in handed.tracks else {}
    return object_id in said.spoken_of and said.frames.issuperset(
        frame for frame in handed.frames.values() if frame in shapes
    )


def _with_words_before(words: Mapping[str, str | None], before: Row | None) -> dict[str, str | None]:
    """What a document with part of a track says of it, beside what was said before, maybe of the other parts.

    It takes nothing back: comments come together, a category stays until it names another one, and a `skip` leaves a
    verdict as it is.
    """
    if before is None or before["verdict"] == Verdict.WITHDRAW:
        return dict(words)
    comments = [*(before["comment"] or "").split(_COMMENTS), *(words["comment"] or "").split(_COMMENTS)]
    return {
        "verdict": before["verdict"] if words["verdict"] == Verdict.SKIP else words["verdict"],
        "comment": _COMMENTS.join(dict.fromkeys(filter(None, comments))) or None,
        "category": words["category"] or before["category"],
    }


def _row(object_id: int, frame: int, change: Change) -> dict[str, Any]:
    kind = Kind.HIDDEN if change.is_hidden else Kind.MASK
    box = None if change.box_xyxy is None else list(change.box_xyxy)
    row = {"object_id": object_id, "frame_index": frame, "kind": kind.value}
    return row | {"counts": change.counts, "box_xyxy": box}


def _without_counts(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row as the table has it."""
    written = {name: value for name, value in row.items() if name not in ("counts", "size")}
    if row["kind"] == Kind.MASK:
        written["mask_rle"] = {"size": list(row["size"]), "counts": row["counts"]}
    return written


def _tracks_of_now(job: JobTables, handed: HandedVideo) -> dict[int, Row]:
    """The tracks of a video as they are now, by object. Raises `InputError` where the job has it no more."""
    videos = job.videos([handed.video_id]).to_pylist()
    if not videos:
        raise InputError(
            f"to_review: the job has no video {handed.video_id!r} any more, or labels it just now: take the file in "
            "when the run has ended"
        )
    rows = job.tracks([handed.video_id], rejected=True).to_pylist()
    return {
        row["object_id"]: {**row, "labeled_at": labeled_at(row, videos[0])} for row in rows if row["status"] == "ok"
    }
