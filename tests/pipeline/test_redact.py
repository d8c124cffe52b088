"""Secrets stay out of whatever is written down."""

from __future__ import annotations

import pytest

from pipeline.redact import HIDDEN, redact, redact_uri


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
        (
            "AccountName=ours;AccountKey=U0VDUkVU/w==;BlobEndpoint=http://127.0.0.1:9/ours",
            f"AccountName=ours;AccountKey={HIDDEN};BlobEndpoint=http://127.0.0.1:9/ours",
        ),
        (
            "BlobEndpoint=https://h/;SharedAccessSignature=sv=2025&sig=SECRET",
            f"BlobEndpoint=https://h/;SharedAccessSignature={HIDDEN}&sig={HIDDEN}",
        ),
        ("{'Authorization': 'Bearer ya29.SECRET-x_y'}", f"{{'Authorization': 'Bearer {HIDDEN}'}}"),
        ("Authorization: SharedKey ours:U0VDUkVU/w==", f"Authorization: SharedKey {HIDDEN}"),
        ("the bearer of this and a Basic job", "the bearer of this and a Basic job"),
        ("what? nothing to hide: /data/really?.mp4", "what? nothing to hide: /data/really?.mp4"),
    ],
)
def test_texts_lose_query_strings_and_passwords(text: str, expected: str) -> None:
    assert redact(text) == expected
    assert redact(redact(text)) == expected


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("/data/really?.mp4", "/data/really?.mp4"),
        ("shards/a.tar::it's #1.mp4", "shards/a.tar::it's #1.mp4"),
        ("s3://bucket/take #2.mp4", "s3://bucket/take #2.mp4"),
        ("http://h/my clip.mp4?token=SECRET", f"http://h/my clip.mp4?{HIDDEN}"),
        ("http://h/it's <new>.mp4?token=SECRET", f"http://h/it's <new>.mp4?{HIDDEN}"),
        ("http://h/v.mp4?SECRET 2\n&token=SECRET", f"http://h/v.mp4?{HIDDEN}"),
        ("HTTPS://h/v.mp4#access=SECRET", f"HTTPS://h/v.mp4?{HIDDEN}"),
        ("https://user:SEC/RET@h/v.mp4", f"https://{HIDDEN}@h/v.mp4"),
        ("ftp://me@mail.com:SEC#RET@h/v.mp4", f"ftp://{HIDDEN}@h/v.mp4"),
        ("https://user:SEC?RET@h/v.mp4", f"https://{HIDDEN}@h/v.mp4"),
        ("https://user:SEC RET@h:9000/v.mp4", f"https://{HIDDEN}@h:9000/v.mp4"),
        ("https://SECRET@h/v.mp4?mail=a@b&token=SECRET", f"https://{HIDDEN}@h/v.mp4?{HIDDEN}"),
        ("https://h:9000?mail=a@SECRET", f"https://h:9000?{HIDDEN}"),
        ("http://h:9000/a@2x.png", "http://h:9000/a@2x.png"),
        ("http://[::1]:9000/a@2x.png", "http://[::1]:9000/a@2x.png"),
        ("abfs://container@account.dfs.core.windows.net/v", "abfs://container@account.dfs.core.windows.net/v"),
        ("tar://a b.mp4::https://u:p@h/a.tar?sig=SECRET", f"tar://a b.mp4::https://{HIDDEN}@h/a.tar?{HIDDEN}"),
        ("zip://v.mp4?x::https://h/a.zip?sig=SECRET", f"zip://v.mp4?{HIDDEN}::https://h/a.zip?{HIDDEN}"),
        ("s3://bucket/a.tar::v.mp4?x=1", f"s3://bucket/a.tar::v.mp4?{HIDDEN}"),
    ],
)
def test_a_value_that_is_one_uri_loses_its_whole_query_and_password(uri: str, expected: str) -> None:
    assert redact_uri(uri) == expected
    assert redact_uri(expected) == expected


def test_an_option_that_is_a_uri_loses_its_whole_query() -> None:
    options = {"videos": "https://h/my table.parquet?sig=SECRET", "folders": ["s3://b/it's?SECRET"]}
    assert redact(options) == {"videos": f"https://h/my table.parquet?{HIDDEN}", "folders": [f"s3://b/it's?{HIDDEN}"]}


def test_options_lose_secrets_and_keep_what_explains_them() -> None:
    options = {
        "key": "AK",
        "secret": "s",
        "aws_secret_access_key": "s",
        "accountKey": "s",
        "sas_token": "s",
        "connection_string": "s",
        "service_account": {"client_email": "me@project", "private_key": "s", "private_key_id": "s"},
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
        "connection_string": HIDDEN,
        "service_account": {"client_email": "me@project", "private_key": HIDDEN, "private_key_id": HIDDEN},
        "anon": False,
        "token": None,
        "keyframes": 3,
        "client_kwargs": {"endpoint_url": f"http://{HIDDEN}@h:9000", "aws_session_token": HIDDEN, "region_name": "eu"},
        "hosts": [f"http://h/?{HIDDEN}", 2],
    }
    assert options["secret"] == "s", "the caller's mapping is untouched"
