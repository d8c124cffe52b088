"""Azure Blob Storage as a file system of fsspec: adlfs, made to leave trying again to our own back-off."""

from __future__ import annotations

import os
import re
from typing import Any
from urllib.parse import urlsplit

from adlfs import AzureBlobFileSystem

_USUAL_CLOUD = "core.windows.net"
_ACCOUNT_HOST = re.compile(
    r"(?P<account>[a-z0-9-]+)\.(?:dfs|blob)\.(?P<cloud>core\.(?:windows\.net|usgovcloudapi\.net|chinacloudapi\.cn))"
)
_CREDENTIALS = {
    "account_key": "AZURE_STORAGE_ACCOUNT_KEY",
    "sas_token": "AZURE_STORAGE_SAS_TOKEN",
    "connection_string": "AZURE_STORAGE_CONNECTION_STRING",
}


class AzureBlobStorage(AzureBlobFileSystem):  # type: ignore[misc]  # adlfs ships no types
    """A storage account. Its client would repeat each request 3 times with pauses of up to a minute.

    Raises `ValueError` where a URI names another account than the one that the credentials are for: adlfs would read
    from the account of a connection string whatever the URI says, and would show another account a SAS token.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        _check_account(options)
        super().__init__(*arguments, **options)
        host = options.get("account_host") or f"{self.account_name}.blob.{_USUAL_CLOUD}"
        has_account = self.connection_string is None and _ACCOUNT_HOST.fullmatch(host)
        self._account_host = host.replace(".blob.", ".dfs.", 1) if has_account else ""

    def unstrip_protocol(self, name: str) -> str:
        """The URI of a path, with its account where no connection string says it: its reader may not know it."""
        path = str(self._strip_protocol(name))
        if not self._account_host:
            return f"{self.protocol[0]}://{path}"
        container, _, below = path.partition("/")
        return f"{self.protocol[0]}://{container}@{self._account_host}/{below}"

    def do_connect(self) -> None:
        """Connect with the credentials at hand. Each request is then made once."""
        super().do_connect()
        for policy in self.service_client._pipeline._impl_policies:
            if hasattr(policy, "total_retries"):
                policy.total_retries = 0

    def _open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        """A file that asks for the ranges that are read. adlfs would fetch 50 MiB with each."""
        return super()._open(path, mode=mode, **{"cache_type": "none", **options})

    async def _find(
        self, path: str, withdirs: bool = False, prefix: str = "", maxdepth: int | None = None, **options: Any
    ) -> Any:
        """Files below a folder, down to `maxdepth`, which adlfs does not know."""
        found = await super()._find(path, withdirs=withdirs, prefix=prefix, **options)
        if maxdepth is None:
            return found
        levels = self._strip_protocol(path).strip("/").count("/") + maxdepth
        near = [name for name in found if name.count("/") <= levels]
        return {name: found[name] for name in near} if isinstance(found, dict) else near

    @staticmethod
    def _get_kwargs_from_urls(urlpath: str) -> dict[str, Any]:
        """The account that a URI names, also one in a cloud for a government or for China.

        Raises `ValueError` for `container@host` where the host is no storage account.
        """
        options: dict[str, Any] = AzureBlobFileSystem._get_kwargs_from_urls(urlpath)
        parts = urlsplit(urlpath)
        host = parts.hostname or ""
        found = _ACCOUNT_HOST.fullmatch(host)
        if found is not None:
            options["account_name"] = found["account"]
            if found["cloud"] != _USUAL_CLOUD:
                options["account_host"] = f"{found['account']}.blob.{found['cloud']}"
        elif "@" in parts.netloc:
            raise ValueError(f"the host {host} is no storage account, as in container@account.dfs.{_USUAL_CLOUD}")
        return options


def _check_account(options: dict[str, Any]) -> None:
    """Raise `ValueError` if the account and the credentials, those of the environment too, do not belong together."""
    named = options.get("account_name")
    if named is None or options.get("credential") is not None:
        return
    text = options.get("connection_string") or os.environ.get(_CREDENTIALS["connection_string"], "")
    theirs = dict(part.partition("=")[::2] for part in text.split(";")).get("AccountName")
    if not text and not any(options.get(name) for name in _CREDENTIALS):
        has_some = any(os.environ.get(variable) for variable in _CREDENTIALS.values())
        theirs = os.environ.get("AZURE_STORAGE_ACCOUNT_NAME") if has_some else None
    if theirs is not None and theirs != named:
        raise ValueError(f"the URI is in the account {named}, and the credentials are those of {theirs}")
