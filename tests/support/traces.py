"""Where a text still stands below an output: in names, in plain bytes, or in rows that a file holds compressed."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.output.layout import session_folder


def traces(output: Path, video_id: str) -> list[str]:
    """Paths of the files of an output that name a video."""
    return sorted(str(path) for path in output.rglob("*") if path.is_file() and _names(path, output, video_id))


def _names(path: Path, output: Path, video_id: str) -> bool:
    inside = str(path.relative_to(output))
    if video_id in inside or inside.startswith(session_folder(video_id)):
        return True
    return video_id.encode() in path.read_bytes() or video_id in _rows(path)


def _rows(path: Path) -> str:
    """All values of a table, with what its file says of itself."""
    if path.suffix == ".parquet":
        parquet = pq.ParquetFile(path)
        return f"{parquet.metadata.metadata} {parquet.read().to_pydict()}"
    if path.suffix == ".arrow":
        return str(pa.ipc.open_stream(path.read_bytes()).read_all().to_pydict())
    return ""
