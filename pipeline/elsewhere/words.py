"""What was taken in of a review, in words."""

from __future__ import annotations

from pipeline.elsewhere.account import Account
from pipeline.reviews.corrections import Kind
from pipeline.text import counted

_KINDS = {
    Kind.MASK: "with a mask",
    Kind.HIDDEN: "on which it is hidden",
    Kind.WITHDRAW: "as it was before",
}

_MOST_NOTES = 20


def taken_in_words(account: Account, output: str) -> list[str]:
    """Lines for people."""
    who = " and ".join(sorted(account.reviewers)) or "nobody"
    videos = counted(len(account.videos), "video")
    if not account.is_new:
        lines = [f"{output}: nothing new in the review of {videos} by {who}"]
    else:
        lines = [f"{output}: reviews of {videos} by {who}"]
        frames = [f"{count} {_KINDS[Kind(kind)]}" for kind, count in sorted(account.frames.items()) if count]
        if frames:
            lines.append(f"frames    {', '.join(frames)}")
        if account.num_added:
            lines.append(f"added     {counted(account.num_added, 'object')}")
        if account.verdicts:
            told = (f"{count} {verdict}" for verdict, count in sorted(account.verdicts.items()))
            lines.append(f"verdicts  {', '.join(told)}")
    lines += [f"left out  {count} {reason}" for reason, count in account.left_out.most_common() if count]
    lines += [f"note      {message}" for message in account.messages[:_MOST_NOTES]]
    if len(account.messages) > _MOST_NOTES:
        lines.append(f"note      … and {len(account.messages) - _MOST_NOTES} more")
    return lines
