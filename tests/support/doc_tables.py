"""Tables of docs/*.md that are made from the code. `python -m tests.support.doc_tables` writes them anew."""

from __future__ import annotations

from pathlib import Path

from pipeline.config.fields import keys
from pipeline.config.job_config import JobConfig

PRODUCTION = Path(__file__).resolve().parents[2] / "docs" / "production.md"
_BEGIN, _END = "<!-- keys -->\n", "<!-- end of keys -->\n"


def keys_table() -> str:
    """All keys of a job with what they take and what they do, as a table of Markdown."""
    rows = [f"| `{key.path}={key.default}` | {key.allowed} | {key.sentence} |" for key in keys(JobConfig)]
    return "\n".join(["| key | takes | meaning |", "|---|---|---|", *(row.replace("\n", " ") for row in rows)]) + "\n"


def with_keys(page: str) -> str:
    """A page with the table of keys between its two marks."""
    before, rest = page.split(_BEGIN)
    return before + _BEGIN + keys_table() + _END + rest.split(_END)[1]


if __name__ == "__main__":
    PRODUCTION.write_text(with_keys(PRODUCTION.read_text(encoding="utf-8")), encoding="utf-8")
