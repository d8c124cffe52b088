"""Keep secrets out of logs, tables, errors and `job.json`: credentials, user names with passwords, query strings."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, overload

HIDDEN = "***"

# Option names whose value is a secret, by whole words, so that `key` is one and `keyframes` is not.
_SECRET_NAME = re.compile(
    r"(^|[_\-.])(key|secret|secrets|token|password|passwd|pwd|credential|credentials|sas|signature|connection_string|"
    r"authorization|auth|cookie|apikey|accesskey|secretkey|accesskeyid|passphrase)($|[_\-.])",
    re.IGNORECASE,
)
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
# The path ends where fsspec chains another URI to it; a web address may also have a token alone before its host.
_SCHEME = r"[A-Za-z][A-Za-z0-9+.\-]*://"
_URL = re.compile(
    rf"(?P<scheme>{_SCHEME})"
    r"(?P<user>[^\s/'\"<>]*:[^\s/'\"<>]*@|(?:(?<=http://)|(?<=https://))[^\s/'\"<>]+@)?"
    rf"(?P<path>(?:(?!::{_SCHEME})[^\s?'\"<>])*)"
    r"(?P<query>\?[^\s'\"<>]*)?"
)
# A value that is one URI, link by link. After a name and a colon comes a port, or else a password, which may hold `/`.
_CHAIN = re.compile(rf"::(?={_SCHEME})")
_LINK = re.compile(
    rf"(?P<scheme>(?P<web>https?://)|{_SCHEME})"
    r"(?P<user>[^/:\[?#]*:(?!\d+(?:[/?#]|$))(?:[^?#]*@|[^/]*@)|(?(web)[^/?#]+@|(?!)))?"
    r"(?P<path>(?(web)[^?#]*|[^?]*))"
    r"(?P<query>.+)?",
    re.IGNORECASE | re.DOTALL,
)
# A signed query can be quoted without its scheme, for instance in an HTTP client's own message.
_SIGNED = re.compile(
    r"(?P<name>X-Amz-(?:Signature|Credential|Security-Token)|X-Goog-(?:Signature|Credential)|AWSAccessKeyId|Signature|"
    r"sig|access_token)=[^&\s'\"<>]+",
    re.IGNORECASE,
)


@overload
def redact(value: str) -> str: ...
@overload
def redact(value: Mapping[str, Any]) -> dict[str, Any]: ...


def redact(value: str | Mapping[str, Any]) -> str | dict[str, Any]:
    """`value` without secrets: a text with URIs in it, or a nested mapping of options. For one URI see `redact_uri`.

    In a text, every query string becomes `?***` and every `user:password@` becomes `***@`. In a mapping, values under
    names such as `secret`, `aws_secret_access_key` or `token` become `***`, and all texts are redacted.
    """
    if isinstance(value, str):
        return _SIGNED.sub(rf"\g<name>={HIDDEN}", _URL.sub(_redact_url, value))
    return {name: HIDDEN if _is_secret(name, item) else _redact_any(item) for name, item in value.items()}


def redact_uri(uri: str) -> str:
    """`uri`, which is one URI or path and nothing else, without secrets; blanks and quotes are part of it.

    All that follows the first `?` is hidden, or the first `#` of a web address, and user names with passwords.
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
    """Flags and nested mappings are kept, so that `anon: true` or `auth: {…}` still explain themselves."""
    if value is None or isinstance(value, (bool, Mapping)):
        return False
    return _SECRET_NAME.search(_CAMEL.sub("_", str(name))) is not None
