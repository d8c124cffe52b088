"""Secrets stay out of whatever is written down."""

from __future__ import annotations

import pytest

from pipeline.redact import HIDDEN, redact


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("s3://bucket/a b/clip.mp4", "s3://bucket/a b/clip.mp4"),
        ("https://host/v.mp4?X-Amz-Signature=abc&x=1", f"https://host/v.mp4?{HIDDEN}"),
        ("https://user:pw@host/v.mp4", f"https://{HIDDEN}@host/v.mp4"),
        ("https://token@host/v.mp4", f"https://{HIDDEN}@host/v.mp4"),
        ("s3://user:p@ss@host/v.mp4", f"s3://{HIDDEN}@host/v.mp4"),
        ("tar://v.mp4::https://user:pw@host/a.tar?sig=1", f"tar://v.mp4::https://{HIDDEN}@host/a.tar?{HIDDEN}"),
        ("s3://bucket/a.tar::v.mp4?x=1", f"s3://bucket/a.tar::v.mp4?{HIDDEN}"),
        ("https://host/path@2x.png", "https://host/path@2x.png"),
        ("abfs://container@account.dfs.core.windows.net/v", "abfs://container@account.dfs.core.windows.net/v"),
        (
            "403, message='Forbidden', url='http://h/v?sig=abc' and ftp://u:p@h/x",
            f"403, message='Forbidden', url='http://h/v?{HIDDEN}' and ftp://{HIDDEN}@h/x",
        ),
        ("GET /v.mp4?X-Amz-Signature=abc failed", f"GET /v.mp4?X-Amz-Signature={HIDDEN} failed"),
        ("what? nothing to hide: /data/really?.mp4", "what? nothing to hide: /data/really?.mp4"),
    ],
)
def test_texts_lose_query_strings_and_passwords(text: str, expected: str) -> None:
    assert redact(text) == expected
    assert redact(redact(text)) == expected


def test_options_lose_secrets_and_keep_what_explains_them() -> None:
    options = {
        "key": "AK",
        "secret": "s",
        "aws_secret_access_key": "s",
        "accountKey": "s",
        "sas_token": "s",
        "anon": False,
        "token": None,
        "keyframes": 3,
        "client_kwargs": {"endpoint_url": "http://u:p@h:9000", "aws_session_token": "s", "region_name": "eu"},
        "hosts": ["http://h/?sig=1", 2],
    }
    assert redact(options) == {
        "key": HIDDEN,
        "secret": HIDDEN,
        "aws_secret_access_key": HIDDEN,
        "accountKey": HIDDEN,
        "sas_token": HIDDEN,
        "anon": False,
        "token": None,
        "keyframes": 3,
        "client_kwargs": {"endpoint_url": f"http://{HIDDEN}@h:9000", "aws_session_token": HIDDEN, "region_name": "eu"},
        "hosts": [f"http://h/?{HIDDEN}", 2],
    }
    assert options["secret"] == "s", "the caller's mapping is untouched"
