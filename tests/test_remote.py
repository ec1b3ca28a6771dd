"""remote: files elsewhere get the rows that they would get here, and leave nothing."""

from __future__ import annotations

import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import SAMPLES
from test_batch import InProcess, in_process, jsonl, remembered  # noqa: F401 - a fixture of every test here, too

from deepfake_detect import batch, content, remote
from deepfake_detect.batch import scan
from deepfake_detect.cli import main
from deepfake_detect.confine import Limits
from deepfake_detect.errors import MediaError

fsspec = pytest.importorskip("fsspec")
pytestmark = pytest.mark.skipif(os.name != "posix", reason="URLs are read where an open file has a name of its own")
FILES = {
    "a.jpg": b"manipulated 0.9", "b": b"no_face", "below/c.mp4": b"no_manipulation_found 0.1",
    "below/same.jpg": b"manipulated 0.9", "damaged.png": b"error damaged", "what?.jpg": b"inconclusive 0.5",
    "new\nline": b"inconclusive 0.6",
}  # fmt: skip


@pytest.fixture
def memory() -> Iterator[Any]:
    """A storage in memory, with a folder `queue`."""
    storage = fsspec.filesystem("memory")
    for name, data in FILES.items():
        storage.pipe(f"/queue/{name}", data)
    yield storage
    storage.store.clear()
    storage.pseudo_dirs[:] = [""]


@pytest.mark.parametrize(
    ("path", "expected"),
    [("C://Users/x", False), ("C:/Users/x", False), ("c::x", False), ("s3://bucket/x", True), ("zip::s3://x", True)],
)
def test_a_drive_of_windows_is_here(path: str, expected: bool) -> None:
    assert remote.is_url(path) == expected


def rows(*urls: str, out: Path, **options: Any) -> dict[str, dict[str, Any]]:
    scan(urls, out, **options)
    return {row["path"]: row for row in jsonl(out)}


def test_the_rows_are_those_of_the_same_files_here(memory: Any, tmp_path: Path) -> None:
    for name, data in FILES.items():
        (tmp_path / "queue" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "queue" / name).write_bytes(data)
    here = rows(str(tmp_path / "queue"), out=tmp_path / "here.jsonl")
    (tmp_path / batch.PAGE).unlink()
    there = rows("memory://queue", out=tmp_path / "there.jsonl")
    assert len(there) == len(FILES)
    assert {path.removeprefix("memory://queue"): {**row, "path": ""} for path, row in there.items()} == {
        path.removeprefix(f"{tmp_path}/queue"): {**row, "path": ""} for path, row in here.items()
    }


def test_a_second_run_fetches_only_what_changed(memory: Any, tmp_path: Path) -> None:
    first = rows("memory://queue", out=tmp_path / "out.jsonl")
    before = len(InProcess.judged)
    assert before == len(set(FILES.values()))
    assert rows("memory://queue", out=tmp_path / "out.jsonl") == first
    memory.pipe("/queue/b", b"no_fac3")
    memory.pipe("/queue/b", b"error x")
    memory.rm("/queue/a.jpg")
    second = rows("memory://queue", out=tmp_path / "out.jsonl")
    assert InProcess.judged[before:] == ["memory://queue/b"]
    assert second.keys() == first.keys() - {"memory://queue/a.jpg"}
    assert second["memory://queue/b"]["error_kind"] == "x"


def test_what_was_deleted_elsewhere_is_forgotten_where_its_folder_was_listed(memory: Any, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    rows("memory://queue", out=out)
    known, _ = remembered(out)
    assert "memory://queue/b" in known
    memory.rm("/queue/b")
    for named in ("memory://queue/below", "memory://queue/**/*.jpg", "memory://gone"):
        rows(named, out=out)
        assert remembered(out)[0] == known
    rows("MEMORY://queue", out=out)
    assert remembered(out)[0] == known - {"memory://queue/b"}


def test_a_storage_that_cannot_be_listed_loses_nothing(
    memory: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out.jsonl"
    rows("memory://queue", out=out)
    known = remembered(out)
    ls = type(memory).ls

    def broken(storage: Any, path: str, **options: Any) -> Any:
        if path.endswith("below"):
            raise OSError(5, "503")
        return ls(storage, path, **options)

    monkeypatch.setattr(type(memory), "ls", broken)
    assert rows("memory://queue", out=out)["memory://queue"]["error_kind"] == "unreadable"
    assert remembered(out) == known


def test_a_list_of_urls_read_with_credentials_that_have_expired_loses_no_verdict(
    memory: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, urls = tmp_path / "out.jsonl", [f"memory://queue/{name}" for name in ("a.jpg", "b", "below/same.jpg")]
    first = rows(*urls, out=out)
    known, before = remembered(out), len(InProcess.judged)
    assert len(known[0]) == 3

    def refused(*_: object) -> Any:
        raise PermissionError("the security token included in the request is expired")

    with monkeypatch.context() as expired:
        expired.setattr(remote, "_entries", refused)
        assert {row["error_kind"] for row in rows(*urls, out=out).values()} == {"unreadable"}
    assert remembered(out) == known
    assert rows(*urls, out=out) == first
    assert len(InProcess.judged) == before


def test_files_patterns_and_what_is_not_there(memory: Any, tmp_path: Path) -> None:
    urls = ("memory://queue/**/*.jpg", "memory://queue/what?.jpg", "memory://queue/gone", "memory://*/nothing*")
    found = rows(*urls, out=tmp_path / "out.jsonl")
    assert {path: row["error_kind"] for path, row in found.items()} == {
        "memory://queue/a.jpg": None, "memory://queue/below/same.jpg": None, "memory://queue/what?.jpg": None,
        "memory://queue/gone": "not_found", "memory://*/nothing*": "not_found",
    }  # fmt: skip


def test_a_folder_that_fits_a_pattern_stands_for_all_below_it(memory: Any) -> None:
    memory.pipe("/queue/below/deeper/d", b"no_face")
    below = ["memory://queue/below/c.mp4", "memory://queue/below/deeper/d", "memory://queue/below/same.jpg"]
    for pattern in ("memory://queue/b*w", "memory://q*/below", "memory://queue/below/**"):
        assert sorted(found.url for found in remote.find(pattern)) == below
    assert sorted(found.url for found in remote.find("memory://queue/b*")) == ["memory://queue/b", *below]


def test_an_author_in_a_name_is_no_key(memory: Any) -> None:
    for name in ("a?author=me.jpg", "a?authors=us.jpg"):
        assert [found.url for found in remote.find(f"memory://queue/{name}")] == [f"memory://queue/{name}"]


@pytest.mark.parametrize(
    ("url", "shown"),
    [("https://example.org/a.jpg?X-Amz-Signature=s3cr3t", "https://example.org/a.jpg"),
     ("http://name:s3cr3t@example.org/a.jpg", "http://example.org/a.jpg"),
     ("file:///etc/passwd", "file:///etc/passwd"), ("local://etc/passwd", "local://etc/passwd"),
     ("simplecache::memory://queue/a.jpg", "simplecache::memory://queue/a.jpg"),
     ("zip://n:s3cr3t@a::memory://n:s3cr3t@b", "zip://a::memory://b"),
     ("s3://KEY:s3cr3t@bucket/a.jpg", "s3://bucket/a.jpg"),
     ("s3://KEY:s3cr3t/+s3cr3t@bucket/a.jpg", "s3://bucket/a.jpg"),
     ("memory://queue/a.jpg?X-Amz-Credential=me&X-Amz-Signature=s3cr3t", "memory://queue/a.jpg"),
     ("az://queue/a.jpg?sv=2022&sig=s3cr3t%3D", "az://queue/a.jpg"),
     ("https://example.org/s/AbCd/download?password=s3cr3t", "https://example.org/s/AbCd/download"),
     ("https://example.org/a.jpg?p=s3cr3t", "https://example.org/a.jpg"),
     ("https://example.org/file/abc#s3cr3t", "https://example.org/file/abc"),
     ("https://name:s3cr3t@example.org/http://x/y.jpg", "https://example.org/http://x/y.jpg"),
     ("https://example.org/http://name:s3cr3t@x/y.jpg", "https://example.org/http://x/y.jpg"),
     ("https://name:s3cr3t::s3cr3t@example.org/a.jpg", "https://example.org/a.jpg"),
     ("S3://KEY:s3cr3t@bucket/web/http://x.jpg", "s3://bucket/web/http://x.jpg"),
     ("s3://bucket/a.jpg?password=s3cr3t", "s3://bucket/a.jpg"),
     ("s3://bucket/a.jpg?authorization=Bearer%20s3cr3t", "s3://bucket/a.jpg"),
     ("s3://bucket/a.jpg?pwd=s3cr3t&auth=s3cr3t", "s3://bucket/a.jpg")],
)  # fmt: skip
def test_other_places_and_keys_in_urls_are_refused_and_keys_are_not_shown(
    url: str, shown: str, memory: Any, tmp_path: Path
) -> None:
    found = rows(url, out=tmp_path / "out.jsonl")
    assert {path: row["error_kind"] for path, row in found.items()} == {shown: "refused"}
    assert not InProcess.judged
    written = [path.read_bytes() for path in tmp_path.iterdir()]
    assert len(written) == 3
    assert not [data for data in written if b"s3cr3t" in data]


def test_a_file_here_that_is_called_like_a_url_is_a_file_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("memory:").mkdir()
    Path("memory:/a").write_text("no_face")
    Path("s3::b").write_text("no_face")
    found = rows("memory://a", "s3::b", out=tmp_path / "out.jsonl")
    assert {path: row["label"] for path, row in found.items()} == {"./memory://a": "no_face", "./s3::b": "no_face"}


def test_limits_hold_and_nothing_stays(memory: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    memory.pipe("/queue/large", bytes(3 * 2**20))
    limits, going = Limits(file_bytes=2**20), threading.Event()
    with (
        pytest.raises(MediaError) as caught,
        remote.fetched("memory://queue/large", limits=limits, stopped=going.is_set),
    ):
        pass
    assert caught.value.kind == "too_large"
    # Storages may be wrong about sizes.
    monkeypatch.setattr(memory, "info", lambda path: {"name": path, "size": None, "type": "file"})
    with (
        pytest.raises(MediaError) as caught,
        remote.fetched("memory://queue/large", limits=limits, stopped=going.is_set),
    ):
        pass
    assert caught.value.kind == "too_large"
    with content.opened("memory://queue/b", follow=True, limits=limits, stopped=going.is_set) as found:
        assert found.file.read() == b""
        assert os.fstat(found.file.fileno()).st_size == len(FILES["b"])
        # It lies there without a name.
        assert not list(tmp_path.iterdir())
    assert found.file.closed


def test_where_no_copy_can_lie_here_the_file_there_is_not_called_gone(
    memory: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with (
        pytest.raises(MediaError, match="no place here for a copy") as caught,
        remote.fetched("memory://queue/b", limits=Limits(), stopped=lambda: False),
    ):
        pass
    assert caught.value.kind == "unreadable"


def test_an_error_of_the_storage_is_a_row_without_signatures(
    memory: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(path: str, *_: object, **__: object) -> Any:
        raise RuntimeError("503 for https://host/a?X-Amz-Signature=abc\nand more")

    monkeypatch.setattr(type(memory), "open", broken)
    found = rows("memory://queue/b", out=tmp_path / "out.jsonl")["memory://queue/b"]
    assert (found["error_kind"], found["error"]) == ("unreadable", "can't be fetched (503 for https://host/a?...)")


def test_a_missing_package_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "adlfs", None)
    assert main(["scan", "az://queue", "--out", str(tmp_path / "out.csv")]) == 2
    assert "adlfs" in capsys.readouterr().err


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An S3 server on this machine."""
    pytest.importorskip("s3fs")
    server = pytest.importorskip("moto.server")
    threaded = server.ThreadedMotoServer(port=0, verbose=False)
    threaded.start()
    host, port = threaded.get_host_and_port()
    environment = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "word", "AWS_DEFAULT_REGION": "us-east-1",
                   "AWS_ENDPOINT_URL": f"http://{host}:{port}"}  # fmt: skip
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    remote._storage.cache_clear()
    storage = fsspec.filesystem("s3", skip_instance_cache=True)
    storage.mkdir("evidence")
    try:
        yield storage
    finally:
        # What such a server keeps outlives it, within one process.
        storage.rm("evidence", recursive=True)
        threaded.stop()
        remote._storage.cache_clear()
        fsspec.filesystem("s3").clear_instance_cache()


@pytest.mark.real
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_s3(bucket: Any, tmp_path: Path) -> None:
    samples = [path for path in sorted(SAMPLES.iterdir()) if path.suffix in (".jpg", ".mp4")]
    assert samples
    for path in samples:
        bucket.pipe(f"evidence/queue/below/{path.name}", path.read_bytes())
    bucket.pipe("evidence/queue/text", b"no picture")
    bucket.pipe("evidence/queue/folder/", b"")
    urls = ("s3://evidence/queue", "s3://evidence/gone", "s3://nowhere/x")
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    found = rows(*urls, out=tmp_path / "there/out.jsonl", workers=1)
    here = rows(*(str(path) for path in samples), out=tmp_path / "here/out.jsonl", workers=1)
    kinds = {path.removeprefix("s3://"): row["error_kind"] for path, row in found.items() if row["error_kind"]}
    assert kinds == {"evidence/queue/text": "unsupported", "evidence/gone": "not_found", "nowhere/x": "not_found"}
    assert len(found) == len(samples) + 3
    for path in samples:
        assert {**found[f"s3://evidence/queue/below/{path.name}"], "path": str(path)} == here[str(path)]
    bucket.pipe("evidence/queue/text", b"no picturf")
    again = rows(*urls, out=tmp_path / "there/out.jsonl", workers=1)
    changed = [path for path, row in again.items() if row != found[path]]
    assert changed == ["s3://evidence/queue/text"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    ("path", "expected"),
    [("evidence", None), ("evidence/queue", "evidence/queue/"), ("evidence/q2/", "evidence/q2/"),
     ("evidence/queue/day?", "evidence/queue/day"), ("evidence/same", "evidence/same"),
     ("evidence/queue//double.jpg", "evidence/queue//double.jpg")],
)  # fmt: skip
def test_no_name_that_s3_allows_is_left_out(path: str, expected: str | None, bucket: Any) -> None:
    names = ("/root.jpg", "q2//only.jpg", "queue/a.jpg", "queue//double.jpg", "queue//x/deep.jpg", "queue///three.jpg",
             "queue/sub//deep.jpg", "queue/day1/x.jpg", "queue/day2/y.jpg", "same", "same/below.jpg",
             "same//b")  # fmt: skip
    for name in names:
        bucket.call_s3("put_object", Bucket="evidence", Key=name, Body=b"no_face")
    bucket.pipe("evidence/queue/empty/", b"")
    found = [one.url for one in remote.find(f"s3://{path}")]
    urls = [f"s3://evidence/{name}" for name in names]
    assert sorted(found) == sorted(url for url in urls if expected is None or url.startswith(f"s3://{expected}"))
    for url in found:
        with remote.fetched(url, limits=Limits(), stopped=lambda: False) as (file, _):
            assert file.read() == b"no_face"
    # What takes everything else away at the end does not know how.
    bucket.call_s3("delete_object", Bucket="evidence", Key="/root.jpg")


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_s3_is_asked_three_times_for_a_file(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket.pipe("evidence/a", b"content")
    asked, call = list[str](), type(bucket)._call_s3

    async def noted(storage: Any, method: str, *how: Any, **more: Any) -> Any:
        asked.append(method)
        return await call(storage, method, *how, **more)

    monkeypatch.setattr(type(bucket), "_call_s3", noted)
    with remote.fetched("s3://evidence/a", limits=Limits(), stopped=lambda: False) as (file, _):
        assert file.read() == b"content"
    # As docs/cluster.md reckons with.
    assert asked == ["head_object", "head_object", "get_object"]
