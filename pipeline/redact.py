"""Keeps secrets out of logs, tables, errors and `job.json`: credentials, user names with passwords, query strings."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, overload

HIDDEN = "***"

# Names of options whose value is a secret. Whole words are looked for: `key` names a secret, `keyframes` does not.
_SECRET_NAME = re.compile(
    r"(^|[_\-.])(key|secret|secrets|token|password|passwd|pwd|credential|credentials|sas|signature|connection_string|"
    r"authorization|auth|cookie|apikey|accesskey|secretkey|accesskeyid|passphrase)($|[_\-.])",
    re.IGNORECASE,
)
# Keys whose whole value may hold a secret: addresses of webhooks have it in their path, commands anywhere.
_SECRET_KEY = re.compile(r"(^|\.)(notify|hooks)$")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
# A URI in a text. Its path ends where fsspec chains another URI to it (`::`). A web address may also have a token
# without a password before its host.
_SCHEME = r"[A-Za-z][A-Za-z0-9+.\-]*://"
_URL = re.compile(
    rf"(?P<scheme>{_SCHEME})"
    r"(?P<user>[^\s/'\"<>]*:[^\s/'\"<>]*@|(?:(?<=http://)|(?<=https://))[^\s/'\"<>]+@)?"
    rf"(?P<path>(?:(?!::{_SCHEME})[^\s?'\"<>])*)"
    r"(?P<query>\?[^\s'\"<>]*)?"
)
# A value that is one URI, link by link of a chain. After a name and a colon comes a port if digits follow, and else a
# password, which may hold `/`.
_CHAIN = re.compile(rf"::(?={_SCHEME})")
_LINK = re.compile(
    rf"(?P<scheme>(?P<web>https?://)|{_SCHEME})"
    r"(?P<user>[^/:\[?#]*:(?!\d+(?:[/?#]|$))(?:[^?#]*@|[^/]*@)|(?(web)[^/?#]+@|(?!)))?"
    r"(?P<path>(?(web)[^?#]*|[^?]*))"
    r"(?P<query>.+)?",
    re.IGNORECASE | re.DOTALL,
)
# A signed query may be quoted without its scheme, for instance in a message of an HTTP client. So may parts of Azure's
# connection strings, which end with a semicolon and whose shared access signature is a query.
_SIGNED = re.compile(
    r"(?P<name>X-Amz-(?:Signature|Credential|Security-Token)|X-Goog-(?:Signature|Credential)|AWSAccessKeyId|Signature|"
    r"sig|access_token|AccountKey|SharedAccessSignature)=[^&;\s'\"<>]+",
    re.IGNORECASE,
)
# The head of a request that carries credentials: OAuth's, and those of a storage account.
_AUTHORIZED = re.compile(r"(?P<name>\b(?:Bearer|Basic|SharedKey(?:Lite)?)) +[A-Za-z0-9+/=._~:\-]{8,}")


@overload
def redact(value: str) -> str: ...
@overload
def redact(value: Mapping[str, Any]) -> dict[str, Any]: ...


def redact(value: str | Mapping[str, Any]) -> str | dict[str, Any]:
    """`value` without secrets: a text with URIs in it, or a nested mapping of options.

    In a text, every query string becomes `?***` and every `user:password@` becomes `***@`. In a mapping, values under
    names such as `secret`, `aws_secret_access_key` or `token` become `***`, and every other text is redacted. A value
    that is known to be one URI goes through `redact_uri`, which hides more.
    """
    if isinstance(value, str):
        signed = _SIGNED.sub(rf"\g<name>={HIDDEN}", _URL.sub(_redact_url, value))
        return _AUTHORIZED.sub(rf"\g<name> {HIDDEN}", signed)
    return {name: HIDDEN if _is_secret(name, item) else _redact_any(item) for name, item in value.items()}


def redact_uri(uri: str) -> str:
    """One URI or path without secrets. The whole text is taken for the URI, blanks and quotes too.

    Hidden is what follows the first `?` (of a web address also the first `#`), and a user name with a password.
    """
    return "::".join(_LINK.sub(_redact_url, link) for link in _CHAIN.split(uri))


def _redact_url(match: re.Match[str]) -> str:
    user = f"{HIDDEN}@" if match["user"] else ""
    query = f"?{HIDDEN}" if match["query"] else ""
    return f"{match['scheme']}{user}{match['path']}{query}"


def _redact_any(value: Any) -> Any:
    if isinstance(value, str):
        return redact(redact_uri(value))
    if isinstance(value, Mapping):
        return redact(value)
    if isinstance(value, (list, tuple)):
        return [_redact_any(item) for item in value]
    return value


def _is_secret(name: str, value: Any) -> bool:
    """Whether a name says that its value is a secret. Flags and mappings are no secrets, so `anon: true` stays."""
    if value is None or value == () or isinstance(value, (bool, Mapping)):
        return False
    return any(one.search(_CAMEL.sub("_", str(name))) for one in (_SECRET_NAME, _SECRET_KEY))
