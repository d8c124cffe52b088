"""What is known of stores stands in one table."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import fsspec
import pytest

import pipeline
from pipeline.errors import UnknownScheme
from pipeline.storage.job_storage import JobStorage
from pipeline.storage.schemes import SCHEMES, Place, is_of_this_machine, is_web, safe_stores, scheme_name, scheme_of
from pipeline.storage.uris import open_filesystem

ROOT = Path(pipeline.__file__).parent


def test_each_name_has_one_row_and_each_row_a_name_that_fsspec_knows() -> None:
    names = [name for scheme in SCHEMES for name in scheme.names]
    assert len(names) == len(set(names))
    assert all(scheme.names[0] in fsspec.available_protocols() for scheme in SCHEMES)


@pytest.mark.parametrize(
    ("uri", "name", "place"),
    [
        ("clips/a.mp4", "file", Place.DISK),
        ("/clips/a.mp4", "file", Place.DISK),
        ("file:///clips/a.mp4", "file", Place.DISK),
        ("local:///clips/a.mp4", "local", Place.DISK),
        ("shards/a.tar::clip.mp4", "file", Place.DISK),
        ("memory://a", "memory", Place.MEMORY),
        ("s3a://bucket/a", "s3a", Place.STORE),
        ("https://host/a?b=c://d", "https", Place.WEB),
        ("simplecache://x", "simplecache", Place.INDIRECT),
        ("unheard://x", "unheard", Place.STORE),
    ],
)
def test_a_uri_belongs_to_a_row(uri: str, name: str, place: Place) -> None:
    assert scheme_name(uri) == name
    assert scheme_of(uri).place is place
    assert is_of_this_machine(uri) == (place in (Place.DISK, Place.MEMORY))


def test_file_systems_of_web_servers_are_known_by_their_names() -> None:
    assert is_web("http")
    assert is_web(("https", "http"))
    assert not is_web(("s3", "s3a"))
    assert not is_web("unheard")


def test_a_store_is_trusted_with_create_only_writes_if_its_row_says_so(tmp_path: Path) -> None:
    assert JobStorage(str(tmp_path)).supports_create
    assert not JobStorage("memory://job").supports_create
    assert safe_stores() == "local disk, s3://, gs:// or abfs://"
    for scheme in SCHEMES:
        assert not scheme.can_create or scheme.place in (Place.DISK, Place.STORE)


@pytest.mark.parametrize(
    ("uri", "package", "extra"), [("gs://bucket/a", "gcsfs", "gcs"), ("az://box/a", "adlfs", "azure")]
)
def test_a_missing_extra_is_told_with_the_line_that_installs_it(
    uri: str, package: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = scheme_of(uri).client.file_system.partition(":")[0]
    monkeypatch.delitem(sys.modules, module, raising=False)
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)  # type: ignore[arg-type]  # what cannot be imported
    with pytest.raises(UnknownScheme, match=rf'cannot be opened .*: pip install "maskmill\[{extra}\]"'):
        open_filesystem(uri)


def test_no_other_module_lists_schemes() -> None:
    """Adding a store touches one file."""
    names = {name for scheme in SCHEMES if scheme.place in (Place.STORE, Place.WEB) for name in scheme.names}
    spelled = names | {f"{name}://" for name in names}
    texts = {path.relative_to(ROOT).as_posix(): path.read_text() for path in ROOT.rglob("*.py")}
    found = {
        name
        for name, text in texts.items()
        if any(f'"{word}"' in text for word in spelled)  # only what may hold one is parsed
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Constant) and node.value in spelled
    }
    assert found == {"storage/schemes.py"}
