"""What a job left on disk -> an answer, read while it is sent.

A worker that a hostile file has taken over may have laid a link in the place of a result. So a file is opened without
following links, and what was opened is what is sent.
"""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.responses import FileResponse, Response, StreamingResponse

from .. import source
from ..errors import MediaError
from .guard import RefusedError

if TYPE_CHECKING:
    import io
    from collections.abc import Iterator

    from starlette.types import Receive, Scope, Send

#: What the annotated copy in a folder may be called, and what it is then.
COPIES = {"annotated.mp4": "video/mp4", "annotated.jpg": "image/jpeg", "annotated.png": "image/png"}
#: What a report's folder is called in the ZIP, and so by the report itself. On disk it bears the job's id, which is secret.
FOLDER = "report"
_CHUNK = 2**18


class _OpenFile(FileResponse):
    """A file that is open already."""

    def __init__(self, file: io.BufferedReader, path: Path, media_type: str, headers: dict[str, str] | None) -> None:
        self._file, known = file, os.fstat(file.fileno())
        self._size = known.st_size
        place: str | os.PathLike[str] = f"/dev/fd/{file.fileno()}" if Path("/dev/fd").exists() else path
        super().__init__(place, media_type=media_type, headers=headers, stat_result=known)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._file:
            if self._size <= _CHUNK and not any(name == b"range" for name, _ in scope["headers"]):
                # Read quicker than it is handed to another thread.
                self.body = self._file.read(self._size)
                await Response.__call__(self, scope, receive, send)
            else:
                await super().__call__(scope, receive, send)


def one_file(path: Path, media_type: str, *, headers: dict[str, str] | None = None) -> FileResponse:
    """
    Raises:
        RefusedError: It is not there, or is no file.
    """
    try:
        return _OpenFile(source.open_file(path, follow=False), path, media_type, headers)
    except MediaError as error:
        raise RefusedError(404, "not_found", "there is no such file, or no longer") from error


def annotated_copy(folder: Path) -> Path | None:
    """The annotated copy in the folder of a report; None where there is none."""
    return next((folder / name for name in COPIES if (folder / name).is_file()), None)


def whole_folder(folder: Path) -> StreamingResponse:
    """A report's folder as a ZIP."""
    headers = {"Content-Disposition": f'attachment; filename="{FOLDER}.zip"'}
    return StreamingResponse(_zipped(folder, FOLDER), media_type="application/zip", headers=headers)


def _zipped(folder: Path, name: str) -> Iterator[bytes]:
    """In pieces. Pictures, videos and maps are compressed already."""
    sink = _Sink()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()):
            inside = Path(name, path.relative_to(folder)).as_posix()
            # A clock that was wrong when the file was written is no reason to break off: ZIP knows no time before 1980.
            entry = zipfile.ZipInfo.from_file(path, inside, strict_timestamps=False)
            with source.open_file(path, follow=False) as file, archive.open(entry, "w") as copy:
                while chunk := file.read(_CHUNK):
                    copy.write(chunk)
                    yield sink.fetch()
            yield sink.fetch()
    yield sink.fetch()


class _Sink:
    """Takes what is written until it is fetched."""

    def __init__(self) -> None:
        self._waiting = bytearray()

    def write(self, data: bytes) -> int:
        """Like a file's."""
        self._waiting += data
        return len(data)

    def flush(self) -> None:
        """Like a file's."""

    def close(self) -> None:
        """Like a file's."""

    def fetch(self) -> bytes:
        """What was written since."""
        found = bytes(self._waiting)
        self._waiting.clear()
        return found
