"""What was named -> what there is: files, all below folders, what fits patterns, what a storage lists. Opens nothing."""

from __future__ import annotations

import glob
import os
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING

from . import remote
from .files import identity
from .types import Failure

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator

_NOT_FOLLOWED = "is a link and was not followed; --follow-links does"
# What is wanted of a folder: what fits one of these patterns, each as its parts; see `_either`.
_Wanted = frozenset[tuple[str, ...]]
_ALL: _Wanted = frozenset([()])


class Name(str):
    """A name that is no pattern whatever is in it, as in the lists of other programs."""


@dataclass(frozen=True)
class Sighting:
    """Something that was found.

    Attributes:
        path: Its name, or its URL.
        follow: Whether it may be a link.
        failure: Why it is out of reach, if that is known already.
        stamp: What changes when it does, size first, where that is known already.
    """

    path: str
    follow: bool = True
    failure: Failure | None = None
    stamp: list[int] | None = None


class Walk:
    """Goes through what was named once, and yields what there is, in no particular order, some of it perhaps twice.

    Args:
        paths: Files, folders, patterns (a `Name` is none) and URLs.
        own: Files that are ours, by their real paths, and not to be found.
        follow: Whether links found in folders are followed; those named are.
    """

    def __init__(self, paths: Iterable[str | os.PathLike[str]], own: set[str], *, follow: bool) -> None:
        self._paths, self._own, self._follow = paths, own, follow
        self._own_names = {Path(path).name for path in own}
        # Folders that were looked at, and what was wanted of them then.
        self._seen = set[tuple[tuple[int, int] | str, _Wanted]]()
        # Where nobody could look, and which folders elsewhere were listed to their end.
        self._closed, self._listed = set[Path](), set[Path]()

    def __iter__(self) -> Iterator[Sighting]:
        for given in self._paths:
            # A `Name` stays one.
            path = os.fsdecode(given)
            if remote.is_url(path) and not os.path.lexists(path):
                yield from self._elsewhere(path)
            else:
                yield from self._here(path)

    def is_gone(self, path: str) -> bool:
        """Whether a file of earlier days, which was not found this time, is there no more, as far as can be told: where a
        drive is missing, a folder is closed or a storage was not asked, it may be there yet."""
        above = {Path(path), *Path(path).parents}
        if self._closed & above:
            return False
        if remote.is_url(path):
            return bool(self._listed & above)
        try:
            os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            # A link among those above it may lead to a drive that is missing.
            return not any(one.is_symlink() and not os.access(one, os.F_OK) for one in above)
        except OSError:
            return False
        return False

    def _elsewhere(self, url: str) -> Iterator[Sighting]:
        url = remote.in_one_spelling(url)
        top, below, whole = Path(url), False, not glob.has_magic(url)
        for one in remote.find(url):
            yield Sighting(one.url, failure=one.failure, stamp=one.stamp)
            below = below or Path(one.url) != top
            whole = whole and one.failure is None
            if one.failure is not None:
                self._closed.add(top)
        if whole and below:
            self._listed.add(top)

    def _here(self, path: str) -> Iterator[Sighting]:
        if os.path.isdir(path):
            found: Iterable[Sighting] = self._below(path)
        elif not (isinstance(path, Name) or os.path.lexists(path)) and glob.has_magic(path):
            found = self._matching(path)
        else:
            found = [Sighting(path)]
            if not os.path.lexists(path):
                self._closed.add(Path(path))
        for one in found:
            # A table may be opened in a spreadsheet, which would take such a beginning for a formula, and we for a URL.
            odd = one.path[:1] in tuple("=+-@\t\r") or remote.is_url(one.path)
            name = "./" + one.path if odd else one.path
            if Path(name).name not in self._own_names or os.path.realpath(name) not in self._own:
                yield replace(one, path=name)

    def _below(self, top: str, wanted: _Wanted = _ALL) -> Generator[Sighting, None, bool]:
        """Everything below a folder but folders, or what of it fits a pattern; an empty name is the current folder's.

        Returns:
            Whether anything fits, what other paths led to included, or may fit where nobody can look.
        """
        folders, links = [(top, wanted)], list[tuple[str, _Wanted]]()
        fits = wanted == _ALL
        while folders or links:
            linked = not folders
            folder, wanted = folders.pop() if folders else links.pop(0)
            below = list[tuple[str, bool, _Wanted]]()
            try:
                if self._is_known(folder, wanted):
                    fits = True
                    if linked:
                        yield Sighting(folder, failure=Failure("link", "leads to a folder that is looked at already"))
                    continue
                with os.scandir(folder or ".") as entries:
                    for entry in entries:
                        rest = _within(wanted, entry.name)
                        if not rest:
                            continue
                        path = entry.path if folder else entry.name
                        fits = fits or rest == _ALL
                        if entry.is_symlink() and not self._follow:
                            # Behind a link to a folder there may be what fits.
                            if rest == _ALL or _leads_to_folder(entry):
                                fits = True
                                yield Sighting(path, failure=Failure("link", _NOT_FOLLOWED))
                        elif _leads_to_folder(entry):
                            below.append((path, entry.is_symlink(), rest))
                        elif rest == _ALL:
                            yield Sighting(path, self._follow)
            except OSError as error:
                fits = True
                self._closed.add(Path(folder))
                found = f"the folder can't be read ({error.strerror}); check its permissions"
                yield Sighting(folder or ".", failure=Failure("unreadable", found))
            # Folders alone are put in order, and thereby held in memory: which of them comes first gives its name to what
            # is found twice. Files have their order from the journal.
            for path, link, rest in sorted(below, key=lambda one: os.fsencode(one[0])):
                # Real folders first, so that what a link leads to bears its own name where it has one.
                (links if link else folders).append((path, rest))
        return fits

    def _is_known(self, folder: str, wanted: _Wanted) -> bool:
        """Whether this folder was looked at for this; from now on it was. Without that two links could make a maze without
        an end."""
        place = identity(folder or ".")
        if (place, _ALL) in self._seen or (place, wanted) in self._seen:
            return True
        self._seen.add((place, wanted))
        return False

    def _matching(self, pattern: str) -> Iterator[Sighting]:
        """The files that fit a pattern, and all below the folders that do. Unlike the modules glob and pathlib, this tells
        of folders that can't be read, and goes into no links unasked."""
        parts = Path(pattern).parts
        fixed = next(i for i, part in enumerate(parts) if glob.has_magic(part))
        top = str(Path(*parts[:fixed])) if fixed else ""
        there = not top or os.path.isdir(top)
        if not there:
            self._closed.add(Path(top))
        if not (there and (yield from self._below(top, _either([parts[fixed:]])))):
            yield Sighting(pattern, failure=Failure("not_found", "nothing that can be reached matches this pattern"))


def _either(patterns: Iterable[tuple[str, ...]]) -> _Wanted:
    """What fits one of several patterns, each as its parts: `**` is any number of folders, none too, and what has no parts
    left fits with all that is below it."""
    found = set[tuple[str, ...]]()
    for parts in patterns:
        found.add(parts)
        while parts[:1] == ("**",):
            parts = parts[1:]
            found.add(parts)
    return _ALL if () in found else frozenset(found)


def _within(wanted: _Wanted, name: str) -> _Wanted:
    """What is wanted of something that lies in a folder of which `wanted` is wanted; `_ALL` where it is wanted itself."""
    if wanted == _ALL:
        return _ALL
    return _either(
        parts if parts[0] == "**" else parts[1:] for parts in wanted if parts[0] == "**" or fnmatch(name, parts[0])
    )


def _leads_to_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        # A link to itself, for one. Whoever opens it will say so.
        return False
