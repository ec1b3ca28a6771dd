"""Arguments -> Options -> Detector -> what is printed and written -> exit status. The only module that prints."""

from __future__ import annotations

import glob
import io
import json
import logging
import os
import sys
import unicodedata
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from .arguments import parser, parsers_within
from .confine import Limits
from .errors import DeepfakeDetectError, MediaError, OptionsError
from .interrupt import Interrupt
from .options import Options, ReportOptions, sampling
from .source import shown
from .words import Words

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from rich.console import Console
    from rich.progress import Progress

    from .batch import Progress as ScanProgress
    from .detector import Detector
    from .media import Opening
    from .table import Summary
    from .types import FaceTrack, Report, Verdict

ALL_JUDGED, SOME_NOT_JUDGED, WRONG_USAGE, LABEL_FOUND, INTERRUPTED = 0, 1, 2, 3, 130
_STYLES = {"manipulated": "bold red", "inconclusive": "bold yellow", "no_manipulation_found": "bold blue",
           "no_face": "bold"}  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns:
        The exit status; argparse leaves with 2 by itself on wrong usage.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    interrupt = Interrupt()
    try:
        with interrupt:
            try:
                status = _dispatch(given)
            except BrokenPipeError:
                # The reader of our output has gone; so should we, without a second complaint at exit.
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                status = SOME_NOT_JUDGED
            except Exception:
                # Where a library cleans up after an interrupt and fails at that, its error takes the interrupt's place.
                if not interrupt.seen:
                    raise
    except KeyboardInterrupt:
        # Out here, for it may come as late as the old handler is put back.
        interrupt.seen = True
    if interrupt.seen:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    return status


def _dispatch(given: list[str]) -> int:
    commands = {"scan": _scan, "serve": _serve, "verify": _verify, "compare": _compare}
    for within in parsers_within():
        name = within.prog.split()[-1]
        if given[:1] == [name]:
            return commands[name](within.parse_args(given[1:]))
    of_files = parser()
    arguments, unknown = of_files.parse_known_args(given)
    first = arguments.files[0]
    if first in commands and not os.path.lexists(first):
        # Other programs take options before a command.
        said = f"{first}: no such file; the command of that name comes first: deepfake-detect {first} ..., then its options"
        return _stop(said, WRONG_USAGE)
    if unknown:
        of_files.error(f"unrecognized arguments: {' '.join(unknown)}")
    return _run(arguments)


def _run(arguments: argparse.Namespace) -> int:
    _log(verbose=arguments.verbose, quiet=arguments.quiet)
    if os.name == "nt":
        arguments.files = _matching(arguments.files)
    try:
        options = Options(
            **sampling(arguments.frames, arguments.fps), start_s=arguments.start, end_s=arguments.end,
            provenance=arguments.report is not None, trust=arguments.trust, engine=arguments.engine,
        )  # fmt: skip
        contents = ReportOptions(
            images=not arguments.no_images, whole_frames=arguments.whole_frames, person=arguments.blur_others,
            keep_path=arguments.keep_path, language=arguments.lang, pdf=arguments.pdf,
        )  # fmt: skip
        _check_report_arguments(arguments)
    except OptionsError as error:
        return _stop(str(error), WRONG_USAGE)

    # Much is loaded from here on: --help, --version and wrong usage answer at once. What reads the first file comes before
    # all else, so that it is read meanwhile.
    from .media import Opening

    _bear_any_name()
    files: list[str | Opening] = [Opening(arguments.files[0], options), *arguments.files[1:]]
    import cv2

    from .detector import Detector

    try:
        key = _prepare_report(arguments, contents) if arguments.report is not None else None
        # The stages share the cores among themselves already.
        cv2.setNumThreads(1)
        detector = Detector(options, weights_folder=arguments.weights)
    except OptionsError as error:
        return _stop(str(error), WRONG_USAGE)
    except DeepfakeDetectError as error:
        return _stop(str(error), SOME_NOT_JUDGED)
    return _judge(detector, files, arguments, contents, key)


def _matching(names: Sequence[str]) -> list[str]:
    """The names with what fits them where they are patterns, as shells do it everywhere but on Windows."""
    result = list[str]()
    for name in names:
        fits = [] if os.path.lexists(name) else sorted(glob.glob(name))  # noqa: PTH207 - it may be absolute
        result += fits or [name]
    return result


def _judge(
    detector: Detector,
    files: Sequence[str | Opening],
    arguments: argparse.Namespace,
    contents: ReportOptions,
    key: Ed25519PrivateKey | None,
) -> int:
    """One file after the other: what is found is printed, and written if a report is wanted."""
    from rich.console import Console

    words, labels, all_good = Words(arguments.lang), set[str](), True
    out = Console(highlight=False, emoji=False)
    folders = _folders(arguments.files, arguments.report)
    with _Bar(words("summary_judging"), parts=len(files), quiet=arguments.quiet) as bar:
        reports = detector.detect_many(files, progress=lambda _, share: bar.tick(share))
        for name, report in zip(arguments.files, reports, strict=True):
            bar.finish()
            _tell(report, out, words, arguments)
            if report.verdict is not None:
                labels.add(report.verdict.label)
            saved = arguments.report is None or _save(
                report, folders[name].pop(0), contents, key, quiet=arguments.quiet
            )
            all_good = all_good and saved and report.error is None
    if not all_good:
        return SOME_NOT_JUDGED
    return LABEL_FOUND if labels & set(arguments.fail_on) else ALL_JUDGED


def _tell(report: Report, out: Console, words: Words, arguments: argparse.Namespace) -> None:
    """What is found in a file, and to stderr what the user should know of the run."""
    if report.error is not None:
        print(f"deepfake-detect: {report.error.message}", file=sys.stderr)
    if arguments.json:
        from .report import to_json

        print(to_json(report), flush=True)
    elif not arguments.quiet:
        _summarise(out, report, words, verbose=arguments.verbose)
    part = arguments.start is not None or arguments.end is not None
    if part and report.media is not None and report.media.kind == "image" and not arguments.quiet:
        print(f"deepfake-detect: {words('summary_no_part', name=shown(report.path))}", file=sys.stderr)


def _log(*, verbose: bool, quiet: bool) -> None:
    """What the library says, to stderr: its warnings unless `quiet`, and all of it if `verbose`."""
    level = logging.DEBUG if verbose else logging.ERROR
    logging.basicConfig(level=level, format="%(name)s: %(message)s", handlers=[_Stderr()])
    logging.getLogger(__package__).setLevel(logging.NOTSET if verbose or quiet else logging.WARNING)
    for chatty in ("PIL", "libav", "asyncio"):
        logging.getLogger(chatty).setLevel(logging.ERROR)


class _Stderr(logging.Handler):
    """Prints to what stderr is at the time: while a bar is shown, lines then go above it."""

    def emit(self, record: logging.LogRecord) -> None:
        """A line."""
        try:
            print(self.format(record), file=sys.stderr)
        except (OSError, ValueError):
            self.handleError(record)


def _prepare_report(arguments: argparse.Namespace, contents: ReportOptions) -> Ed25519PrivateKey | None:
    """Whether the report asked for can be had here, and the key to sign it with; nothing of it is loaded without need."""
    from .dossier import check, check_folder, read_key

    check(contents)
    key = read_key(arguments.sign) if arguments.sign else None
    if len(arguments.files) == 1:
        # What can't be read or written is told then. Of several, one that can't be saved must not hold up the others.
        with suppress(MediaError, OSError):
            check_folder(arguments.report, arguments.files[0])
    return key


def _check_report_arguments(arguments: argparse.Namespace) -> None:
    names = ("no_images", "whole_frames", "blur_others", "keep_path", "pdf", "sign", "trust")
    idle = [name for name in names if getattr(arguments, name)]
    if arguments.report is None and idle:
        raise OptionsError(f"--{idle[0].replace('_', '-')} is about the report; give --report DIR too, or leave it out")
    if arguments.no_images and arguments.whole_frames:
        raise OptionsError("--no-images and --whole-frames contradict each other; leave one out")
    if arguments.report is not None and os.path.lexists(arguments.report) and not os.path.isdir(arguments.report):
        raise OptionsError(f"--report {shown(arguments.report)}: is a file; give a folder")


def _bear_any_name() -> None:
    """A name that the terminal's encoding lacks must not end the run."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _verify(arguments: argparse.Namespace) -> int:
    from .page import plain
    from .verify import signed, verify

    _bear_any_name()
    try:
        with _Bar(Words()("summary_judging"), quiet=arguments.quiet) as bar:
            checks = verify(
                arguments.folder, media=arguments.media, key=arguments.key, weights_folder=arguments.weights,
                progress=bar.tick,
            )  # fmt: skip
    except OptionsError as error:
        return _stop(str(error), WRONG_USAGE)
    good = all(check.good for check in checks)
    if arguments.json:
        print(json.dumps({"good": good, "signed": signed(checks), "checks": [vars(check) for check in checks]}))
        return ALL_JUDGED if good else SOME_NOT_JUDGED
    for check in checks:
        if not (check.good and arguments.quiet):
            # Names of files and what stands in a report are anyone's: they must not draw lines of their own.
            print(f"{'ok ' if check.good else 'BAD'}  {plain(check.name)}: {plain(check.message)}")
    if not good:
        print("NOT all is as it was: see the lines marked BAD")
    elif not arguments.quiet and signed(checks):
        vouched = "" if arguments.key else " by whoever made the key beside it; --key asks for one that you know"
        print(f"all is as it was when it was signed{vouched}")
    elif not arguments.quiet:
        print("all fits together; it is not signed, so whoever changed a file could have changed the list with it")
    return ALL_JUDGED if good else SOME_NOT_JUDGED


def _compare(arguments: argparse.Namespace) -> int:
    from .compare import compare, spare

    _bear_any_name()
    try:
        if arguments.out is not None:
            spare(arguments.out, arguments.suspect, arguments.original)
    except OptionsError as error:
        return _stop(str(error), WRONG_USAGE)
    words = Words(arguments.lang)
    try:
        with _Bar(words("summary_comparing")) as bar:
            found = compare(arguments.suspect, arguments.original, progress=bar.tick)
    except DeepfakeDetectError as error:
        return _stop(str(error), SOME_NOT_JUDGED)
    if arguments.json:
        print(json.dumps(found.to_dict()))
    else:
        print(_stable(found.label, words(f"compare_label_{found.label}"), words))
        for said in (found.explain(words), found.explain_errors(words), *found.warnings(words)):
            if said:
                print(f"  {said}")
    try:
        if arguments.out is not None:
            found.save(arguments.out, language=arguments.lang)
    except DeepfakeDetectError as error:
        return _stop(str(error), SOME_NOT_JUDGED)
    except OSError as error:
        return _stop(f"{shown(arguments.out)}: can't be written ({error.strerror}); check the folder", SOME_NOT_JUDGED)
    return ALL_JUDGED


def _save(report: Report, folder: Path, contents: ReportOptions, key: Ed25519PrivateKey | None, *, quiet: bool) -> bool:
    try:
        with _Bar(Words(contents.language)("summary_writing"), quiet=quiet) as bar:
            report.save(folder, options=contents, key=key, progress=bar.tick)
    except (MediaError, OptionsError) as error:
        print(f"deepfake-detect: {error}", file=sys.stderr)
        return False
    except OSError as error:
        print(
            f"deepfake-detect: {shown(folder)}: can't be written ({error.strerror}); check the folder", file=sys.stderr
        )
        return False
    return True


def _folders(names: Sequence[str], root: Path | None) -> dict[str, list[Path]]:
    """Where each file's report goes: `root` itself for one file, else a folder each, named after the file and never
    the same for two."""
    if root is None:
        return {}
    result: dict[str, list[Path]] = {}
    taken: set[str] = set()

    def as_one(folder: str) -> str:
        # What is one name to some file system: macOS knows of no two ways to write é, nor, as Windows, of large letters.
        return unicodedata.normalize("NFC", folder).casefold()

    for name in names:
        base = Path(name).name.lstrip("-.") or "file"
        folder, number = base, 2
        while as_one(folder) in taken:
            folder, number = f"{base}-{number}", number + 1
        taken.add(as_one(folder))
        result.setdefault(name, []).append(root if len(names) == 1 else root / folder)
    return result


def _scan(arguments: argparse.Namespace) -> int:
    _bear_any_name()
    try:
        options, limits = Options(**sampling(arguments.frames, arguments.fps)), _limits(arguments)
        _check_scan_arguments(arguments)
    except OptionsError as error:
        return _stop(str(error), WRONG_USAGE)

    from rich.console import Console

    from .batch import scan

    words = Words(arguments.lang)
    bar = _ScanBar(Console(stderr=True, highlight=False), words, quiet=arguments.quiet)
    try:
        found = scan(
            _names(arguments.paths, null=arguments.null), arguments.out, options=options, weights_folder=arguments.weights,
            limits=limits, workers=arguments.workers, images=not arguments.no_images, language=arguments.lang,
            follow_links=arguments.follow_links, restart=arguments.restart, retry=arguments.retry, progress=bar.tell,
            ray=arguments.on == "ray", ray_address=arguments.ray_address,
        )  # fmt: skip
    except OptionsError as error:
        return _stop(str(error), WRONG_USAGE)
    except DeepfakeDetectError as error:
        return _stop(str(error), SOME_NOT_JUDGED)
    except OSError as error:
        said = f"{shown(str(error.filename or arguments.out))}: {error.strerror or error}; the scan can go on later"
        if error.filename2:
            # What something was to be called. Windows replaces nothing that is open elsewhere, say in a spreadsheet.
            said = f"{shown(str(error.filename2))}: {error.strerror} (is it open elsewhere?); the scan can go on later"
        return _stop(said, SOME_NOT_JUDGED)
    finally:
        bar.stop()
    if not arguments.quiet:
        _summarise_scan(found, words)
    # A queue seldom is without some file that can't be judged, and that must not hide what was asked for.
    if set(found.labels) & set(arguments.fail_on):
        return LABEL_FOUND
    return SOME_NOT_JUDGED if found.errors else ALL_JUDGED


def _limits(arguments: argparse.Namespace) -> Limits:
    """What judging one file of a scan may take."""
    return Limits(
        seconds=arguments.time_limit,
        cpu_s=2 * arguments.time_limit,
        memory_bytes=arguments.memory_limit * 2**30,
        file_bytes=arguments.size_limit * 2**30,
    )


def _check_scan_arguments(arguments: argparse.Namespace) -> None:
    if arguments.workers is not None and arguments.workers < 1:
        raise OptionsError(f"--workers: expected a number from 1, found {arguments.workers}")
    if arguments.ray_address is not None and arguments.on != "ray":
        raise OptionsError("--ray-address is about a cluster; give --on ray too, or leave it out")
    if arguments.null and "-" not in arguments.paths:
        raise OptionsError("-0 is about names on stdin; give - in place of a path to read them, or leave it out")


def _summarise_scan(found: Summary, words: Words) -> None:
    from .page import plain

    counts = [(_stable(label, words(f"label_{label}"), words), count) for label, count in found.labels.items()]
    counts += [(words("scan_not_judged", kind=kind.replace("_", " ")), count) for kind, count in found.errors.items()]
    counts.append((words("scan_total", duplicates=found.duplicates), found.files))
    for what, count in counts:
        print(words("scan_count", count=count, what=what))
    held = ", ".join(found.confinements) or words("scan_unconfined")
    print(words("scan_written", table=plain(found.table), page=plain(found.page), held=held))


def _names(paths: Sequence[str], *, null: bool) -> Iterator[str]:
    """The paths, and in place of each - those that stdin lists. A name may hold any byte but zero."""
    from .walk import Name

    end = b"\0" if null else b"\n"
    name_of = _name_on_windows if os.name == "nt" else os.fsdecode
    for path in paths:
        if path != "-":
            yield path
            continue
        rest = b""
        while chunk := os.read(sys.stdin.fileno(), 65536):
            *whole, rest = (rest + chunk).split(end)
            yield from (Name(name_of(line)) for line in whole if line)
        if rest:
            yield Name(name_of(rest))


def _name_on_windows(line: bytes, code_page: str = "oem") -> str:
    """A name that a program wrote: lines end by two bytes there, and what is no UTF-8 is in the code page of terminals."""
    line = line.removesuffix(b"\r")
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        return line.decode(code_page, "replace")


class _ScanBar:
    """How far a scan is, with rate and time left, on stderr: a bar on a terminal, else a line a minute."""

    def __init__(self, err: Console, words: Words, *, quiet: bool) -> None:
        shown = err.is_terminal and not quiet
        self._bar = _plain_bar(err) if shown else None
        self._task = self._bar.add_task(words("scan_looking"), total=None) if self._bar else None
        self._words, self._quiet, self._next_s = words, quiet, 0.0
        if self._bar is not None:
            self._bar.start()

    def tell(self, progress: ScanProgress) -> None:
        """So far."""
        # The clock of Windows may stand still for a file or two.
        rate = progress.judged / progress.seconds if progress.seconds > 0 else 0.0
        said = self._words("scan_progress", done=progress.done, files=progress.files, rate=rate)
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, description=said, completed=progress.done, total=progress.files)
        elif not self._quiet and progress.seconds >= self._next_s and rate:
            self._next_s = progress.seconds + 60
            left = (progress.files - progress.done) / rate
            time = f"{left // 3600:.0f}:{left // 60 % 60:02.0f}:{left % 60:02.0f}"
            print(self._words("scan_left", so_far=said, time=time), file=sys.stderr, flush=True)

    def stop(self) -> None:
        """Leave the terminal as it was."""
        if self._bar is not None:
            self._bar.stop()


def _plain_bar(err: Console) -> Progress:
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    return Progress(*columns, console=err, transient=True, redirect_stdout=False)


def _summarise(out: Console, report: Report, words: Words, *, verbose: bool) -> None:
    from rich.markup import escape

    from .verdict import effort, reason, seen_too_briefly, warnings

    verdict, info, calibration = report.verdict, report.media, report.calibration
    if verdict is None or info is None or calibration is None:
        return

    def say(text: str, *, mark: str = "") -> None:
        out.print(f"  [{mark}]{escape(text)}[/]" if mark else f"  {escape(text)}", soft_wrap=True)

    out.print(f"[bold]{escape(shown(report.path))}[/bold]", soft_wrap=True)
    say(_verdict_line(verdict, words), mark=_STYLES[verdict.label])
    say(reason(report, words))
    video = info.kind == "video"
    if video:
        length = words("summary_length", seconds=info.duration_s) if info.duration_s else ""
        frames = len(report.sampled_times_s)
        looked = words("summary_video", width=info.width, height=info.height, length=length, frames=frames)
        say("; ".join((looked, *effort(report, words))))
    if info.starts_late:
        say(words("page_times", start_s=info.start_s))
    brief = seen_too_briefly(report.tracks)
    for track in report.tracks:
        say(_person(track, words, frames=len(report.sampled_times_s) if video else 0, brief=track in brief))
        if verbose:
            _list_views(out, track)
    for told in warnings(report.notes, report.tracks, kind=info.kind, calibration=calibration, words=words):
        out.print(f"  [yellow]{words('summary_warning')}[/yellow] {escape(told)}", soft_wrap=True)
    if verbose:
        say(", ".join(f"{stage} {seconds:.2f} s" for stage, seconds in report.timing_s.items()))


def _verdict_line(verdict: Verdict, words: Words) -> str:
    from .verdict import told_interval

    said = _stable(verdict.label, words(f"label_{verdict.label}"), words)
    if verdict.probability is None:
        return said
    interval = ""
    if bounds := told_interval(verdict):
        interval = words("summary_interval", low=bounds[0], high=bounds[1])
    return f"{said}   {words('summary_probability', probability=verdict.probability, interval=interval)}"


def _list_views(out: Console, track: FaceTrack) -> None:
    """Each view of a person, for those who look for reasons: in English, as all that is for them."""
    for score in track.scores:
        said = f"{score.logit:+.2f}" if score.logit is not None else str(score.excluded).replace("_", " ")
        out.print(f"    {score.time_s:8.2f} s  face {score.face.size_px:.0f} px  quality {score.quality:.2f}  {said}")


def _stable(label: str, said: str, words: Words) -> str:
    """The stable word, for those who search for it; a reader of another language gets theirs before it."""
    stable = label.replace("_", " ")
    return stable if words.language == "en" else f"{said} [{stable}]"


def _person(track: FaceTrack, words: Words, *, frames: int, brief: bool) -> str:
    """What a person shows.

    Args:
        frames: So many of a video were looked at; 0 for a picture.
        brief: They do not decide, since others were seen far more.
    """
    if track.probability is None:
        excluded = sorted({score.excluded for score in track.scores if score.excluded})
        why = ", ".join(_stable(one, words(f"excluded_{one}"), words) for one in excluded)
        return words("summary_person", person=track.id, said=words("summary_unjudged", why=why))
    said = words("summary_evidence", probability=track.probability, logit=track.logit)
    if frames:
        # Of all views, as on the page; the reason names one of those on which the answer rests.
        moment = max(track.voting, key=lambda score: score.logit or 0.0)
        said += words(
            "summary_seen" if len(track.scores) >= frames else "summary_seen_some", start_s=track.start_s,
            end_s=track.end_s, moment_s=moment.time_s, voting=len(track.voting), views=len(track.scores), frames=frames,
        )  # fmt: skip
    if brief:
        said += f". {words('page_person_brief')}"
    return words("summary_person", person=track.id, said=said)


class _Bar:
    """A bar with the time left on stderr, from when it is first told of a share. Without a terminal it does nothing.

    Use it in a `with` statement. It gives way to what is printed between two parts, say files. stdout stays as it is: a
    program may read it.
    """

    def __init__(self, said: str, *, parts: int = 1, quiet: bool = False) -> None:
        from rich.console import Console

        err = Console(stderr=True, highlight=False, emoji=False)
        self._bar = _plain_bar(err) if err.is_terminal and not quiet else None
        self._done = 0
        if self._bar is not None:
            self._task = self._bar.add_task(said, total=parts)

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def tick(self, share: float) -> None:
        """So much of the present part is done."""
        if self._bar is not None:
            self._bar.start()
            self._bar.update(self._task, completed=self._done + share)

    def finish(self) -> None:
        """The present part is done, whatever came of it."""
        self._done += 1
        self._stop()

    def _stop(self) -> None:
        """Leave the terminal as it was."""
        if self._bar is not None:
            self._bar.stop()


def _serve(arguments: argparse.Namespace) -> int:
    try:
        from .server import serve, upload
    except ImportError as error:
        return _stop(f'serving needs more packages ({error}); pip install "deepfake-detect[serve]"', WRONG_USAGE)
    from .confine import cores
    from .server.guard import LOOPBACK

    _bear_any_name()
    for name in ("port", "queue", "workers", "time_limit", "size_limit", "rate"):
        value, least = getattr(arguments, name), 0 if name == "port" else 1
        most = 65535 if name == "port" else 2**31 - 1
        if value is not None and not least <= value <= most:
            found = f"--{name.replace('_', '-')}: expected a number from {least} to {most}, found {value:g}"
            return _stop(found, WRONG_USAGE)
    settings = serve.Settings(
        token=arguments.token, names=(*LOOPBACK, *(name.lower() for name in arguments.name)),
        language=arguments.lang, uploads=upload.Limits(file_bytes=int(arguments.size_limit * 2**30)),
        jobs_a_minute=arguments.rate,
    )  # fmt: skip
    place = serve.Place(
        host=arguments.host, port=arguments.port, data=arguments.data, keep_s=arguments.keep,
        workers=arguments.workers or cores(), most_waiting=arguments.queue, seconds=arguments.time_limit,
        weights_folder=arguments.weights,
    )  # fmt: skip

    def ready(address: str) -> None:
        print(f"serving on {address}", flush=True)
        kept = f"results are kept for {arguments.keep:g} s" if arguments.keep else "and everything is deleted"
        if os.name == "nt" and not arguments.keep:
            # Which ends the process before it can.
            kept += "; where this window is closed instead, that is done at the next start"
        print(f"Ctrl-C ends it, {kept}", file=sys.stderr)

    try:
        serve.serve(place, settings, ready=ready, browser=not arguments.no_browser)
    except OptionsError as error:
        return _stop(str(error), WRONG_USAGE)
    except DeepfakeDetectError as error:
        return _stop(str(error), SOME_NOT_JUDGED)
    return ALL_JUDGED


def _stop(message: str, status: int) -> int:
    print(f"deepfake-detect: {message}", file=sys.stderr)
    return status
