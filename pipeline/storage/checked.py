"""Opens what a table names, by the rules of the job."""

from __future__ import annotations

import fsspec

from pipeline.storage.addresses import AddressRules
from pipeline.storage.schemes import is_web, scheme_name
from pipeline.storage.uris import StorageOptions, open_filesystem


def open_checked(
    uri: str, storage_options: StorageOptions | None, rules: AddressRules
) -> tuple[fsspec.AbstractFileSystem, str]:
    """As `open_filesystem`, for an address of a table. A web server's redirections are held to the rules too.

    Raises `RefusedAddress` for an address that the rules do not let pass, and what `open_filesystem` raises.
    """
    rules.check(uri)
    if not any(is_web(scheme_name(link)) for link in uri.split("::")):
        return open_filesystem(uri, storage_options)
    try:
        from pipeline.storage.web_client import WebClient
    except ImportError:  # without aiohttp there is no web client at all, as the next call says
        return open_filesystem(uri, storage_options)
    return open_filesystem(uri, storage_options, WebClient(rules))
