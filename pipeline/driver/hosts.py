"""Which hosts videos lie on, and what it means that nothing was ever read from one of them."""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import urlsplit

from pipeline.storage.uris import is_local


def host_of(uri: str | None) -> str:
    """Where a video lies: scheme with host or bucket. Empty for this machine's disk, and for bytes in a table.

    Of a chained URI it is the last link's, which names the store: `tar://clip.mp4::s3://bucket/a.tar`.
    """
    links = [link for link in (uri or "").split("::") if "://" in link]
    if not links or is_local(links[-1]):
        return ""
    parts = urlsplit(links[-1])
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def is_dead(host: str, hosts_read: Collection[str]) -> bool:
    """Whether a host that does not answer is its videos' fault, and not that of storage.

    It is, if nothing was ever read from it, and videos of other places were: then storage as a whole is not away. A
    host that has answered before may come back, and this machine's disk is never a video's fault.
    """
    return bool(host) and host not in hosts_read and bool(hosts_read)
