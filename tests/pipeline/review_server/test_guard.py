"""Whoever lacks the token gets nothing, and no other site's page can use the browser of one who has it."""

from __future__ import annotations

import pytest

from tests.support.reviewing import TOKEN, Client, reviewing


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/api/tracks",
        "/main.js",
        f"/{TOKEN[:-1]}/",
        f"/{TOKEN}x/",
        "//",
        "/tökén/",
        f"/x/{TOKEN}/api/tracks",
    ],
)
def test_a_request_without_the_token_is_refused(watched: Client, path: str) -> None:
    answer = watched.http.get(path)
    assert answer.status_code == 403
    assert "link that the command has printed" in answer.text
    assert TOKEN not in answer.text


def test_a_link_that_was_copied_without_its_last_slash_leads_to_the_page(watched: Client) -> None:
    answer = watched.http.get(f"/{TOKEN}", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (307, f"/{TOKEN}/")
    assert "<title>review</title>" in watched.http.get(f"/{TOKEN}", follow_redirects=True).text
    assert watched.http.get(f"/{TOKEN}", headers={"host": "evil.example"}).status_code == 403


def test_page_and_modules_are_served_below_the_token(watched: Client) -> None:
    page = watched.raw("")
    assert "<title>review</title>" in page.text
    assert watched.raw("main.js").headers["content-type"].startswith("text/javascript")
    assert watched.raw("nothing.js").status_code == 404


@pytest.mark.parametrize("host", ["127.0.0.1:1", "localhost:8765", "[::1]:80", "192.168.1.7:9", "LOCALHOST"])
def test_hosts_that_nobody_can_have_moved_are_served(watched: Client, host: str) -> None:
    assert watched.http.get(f"/{TOKEN}/api/session", headers={"host": host}).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80", "", "a]["])
def test_names_of_other_hosts_are_refused_even_with_the_token(watched: Client, host: str) -> None:
    assert watched.http.get(f"/{TOKEN}/api/session", headers={"host": host}).status_code == 403


def test_the_name_that_host_gives_is_served(filmed: str) -> None:
    with reviewing(filmed, hosts=("Box.Example",)) as client:
        assert client.http.get(f"/{TOKEN}/api/session", headers={"host": "box.example:8"}).status_code == 200


def test_pages_of_other_sites_are_refused(watched: Client) -> None:
    for origin, status in (("http://evil.example", 403), ("null", 403), ("http://127.0.0.1:9", 200)):
        assert watched.http.get(f"/{TOKEN}/api/session", headers={"origin": origin}).status_code == status


def test_nothing_of_another_host_is_loaded_and_no_address_leaks(watched: Client) -> None:
    headers = watched.raw("").headers
    policy = headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["referrer-policy"] == "no-referrer"


def test_errors_of_the_program_are_told_without_the_token(filmed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from starlette.testclient import TestClient

    with reviewing(filmed) as client:
        monkeypatch.setattr(client.state, "snapshot", None)
        http = TestClient(client.http.app, base_url="http://127.0.0.1", raise_server_exceptions=False)
        answer = http.get(f"/{TOKEN}/api/session")
        assert answer.status_code == 500
        assert "AttributeError" in answer.json()["error"]
        assert TOKEN not in answer.text
