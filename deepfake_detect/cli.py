"""Arguments -> Options -> Detector -> what is printed and written -> exit status. The only module that prints."""

from __future__ import annotations

import _thread
import argparse
import io
import json
import logging
import os
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from . import __version__, completion
from .confine import Limits
from .errors import DeepfakeDetectError, MediaError, OptionsError
from .options import ENGINES, EVERY_FRAME, FAST_FRAMES, Options, ReportOptions
from .words import LANGUAGES, Words

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from rich.console import Console
    from rich.progress import Progress

    from .batch import Progress as ScanProgress
    from .types import FaceTrack, Report

ALL_JUDGED, SOME_NOT_JUDGED, WRONG_USAGE, LABEL_FOUND, INTERRUPTED = 0, 1, 2, 3, 130

_LABELS = ("manipulated", "inconclusive", "no_manipulation_found", "no_face")
_EPILOG = """\
examples:
  deepfake-detect photo.jpg                      a verdict with its reason
  deepfake-detect clip.mp4 --report out          and a folder that someone else can check: open out/report.html
  deepfake-detect verify out --media clip.mp4    is every byte of it as it was, and is the same found again?
  deepfake-detect compare suspect.jpg mine.jpg   was the face taken from this very photo?
  deepfake-detect scan queue --out results.csv   many files: a row each; stopped at any time, it goes on where it was
  deepfake-detect serve                          a page in the browser, on this machine alone; and for programs
  deepfake-detect --json *.mp4 > results.jsonl   one JSON object a line, one per file
  deepfake-detect long.mkv --start 60 --end 90   only this part
  deepfake-detect --fail-on manipulated clip.mp4 || echo look at it
  deepfake-detect -- -odd-name.jpg               a name that begins with a dash

exit status:
  0  every file was judged          1  some could not be       2  wrong usage
  3  a label of --fail-on occurred, and every file was judged  130  interrupted

Nothing leaves this machine. "No manipulation found" does not mean genuine: the tool knows manipulated faces,
and says nothing about a picture whose face is authentic and whose body is not, nor about voices.
"""
_TOKEN_VARIABLE = "DEEPFAKE_DETECT_TOKEN"
_STYLES = {"manipulated": "bold red", "inconclusive": "bold yellow", "no_manipulation_found": "bold green",
           "no_face": "bold"}  # fmt: skip


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    result = argparse.ArgumentParser(
        prog="deepfake-detect",
        description="Look for traces of manipulation in the faces of pictures and videos, on this machine.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    result.add_argument("files", nargs="+", metavar="FILE", help="a picture or a video")
    result.add_argument("--json", action="store_true", help="print one JSON object a line and nothing else")
    result.add_argument(
        "--report", type=Path, metavar="DIR", help="write the report into DIR (several files: a folder each)"
    )
    result.add_argument("--fail-on", type=_labels, default=(), metavar="LABEL[,LABEL]",
                        help=f"exit with 3 if one of these occurs: {', '.join(_LABELS)}")  # fmt: skip
    result.add_argument("--weights", type=Path, metavar="DIR",
                        help="use the weights in DIR, such as fine-tuning makes, instead of those that ship")  # fmt: skip
    result.add_argument(
        "--lang", choices=LANGUAGES, default="en", help="of verdicts, page and annotated copy (default %(default)s)"
    )
    report = result.add_argument_group("what the report holds; without these it shows nothing but faces")
    report.add_argument("--no-images", action="store_true", help="no pictures at all")
    report.add_argument("--whole-frames", action="store_true", help="the annotated copy shows all of each frame")
    report.add_argument("--blur-others", type=int, metavar="PERSON", help="show this person only, by number")
    report.add_argument("--keep-path", action="store_true", help="state the whole path of the file, not its name alone")
    report.add_argument("--pdf", action="store_true", help="write the page as report.pdf too")
    report.add_argument("--trust", metavar="PEM", help="certificates of those whose Content Credentials are trusted")
    report.add_argument("--sign", type=Path, metavar="KEY", help="sign it with an Ed25519 private key (PEM)")
    default = Options()
    sampling = _add_sampling(result, default)
    sampling.add_argument("--start", type=float, metavar="S", help="begin S seconds after the first frame")
    sampling.add_argument("--end", type=float, metavar="S", help="stop S seconds after the first frame")
    result.add_argument("--engine", choices=ENGINES, default=default.engine,
                        help="what runs the nets (default %(default)s: ONNX Runtime; torch is the reference)")  # fmt: skip
    voice = result.add_mutually_exclusive_group()
    voice.add_argument("-q", "--quiet", action="store_true", help="print no summary and no progress, only errors")
    voice.add_argument(
        "-v", "--verbose", action="store_true", help="show every frame, timings, and what the decoder says"
    )
    result.add_argument("--print-completion", choices=("bash", "zsh"), action=_PrintCompletion,
                        help="print what completes the command in this shell, for it to source")  # fmt: skip
    result.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    return result


def parsers_within() -> tuple[argparse.ArgumentParser, ...]:
    """The arguments of each command within the command."""
    return scan_parser(), serve_parser(), verify_parser(), compare_parser()


class _PrintCompletion(argparse.Action):
    """Prints what a shell needs to complete the command, and leaves, as `--version` does: no FILE is needed."""

    def __call__(self, of: argparse.ArgumentParser, _: object, shell: object, __: str | None = None) -> None:
        """Of this option."""
        print(completion.script(str(shell), of, parsers_within()), end="")
        of.exit()


def verify_parser() -> argparse.ArgumentParser:
    """The arguments of `deepfake-detect verify`."""
    result = argparse.ArgumentParser(
        prog="deepfake-detect verify",
        description="Check the folder of a report: name every file that was changed, is missing or was added.",
        epilog="exit status: 0 all is as it was, 1 something is not, 2 wrong usage",
    )
    result.add_argument("folder", type=Path, help="the folder that --report wrote")
    result.add_argument("--media", type=Path, metavar="FILE", help="examine the original again and compare")
    result.add_argument("--key", type=Path, metavar="PEM", help="public key that must have signed the report")
    result.add_argument(
        "--weights", type=Path, metavar="DIR", help="the weights it was made with, if not those that ship"
    )
    result.add_argument("--json", action="store_true", help="print what was looked at as one JSON object")
    result.add_argument("-q", "--quiet", action="store_true", help="print only what is not as it was")
    return result


def compare_parser() -> argparse.ArgumentParser:
    """The arguments of `deepfake-detect compare`."""
    result = argparse.ArgumentParser(
        prog="deepfake-detect compare",
        description="Was a face in the suspect picture or video taken from this very photo?",
        epilog="exit status: 0 compared, or no face was found to compare; 1 a file could not be read or written, 2 wrong"
        " usage. Nothing leaves this machine.",
    )
    result.add_argument("suspect", type=Path, help="the picture or video in question")
    result.add_argument("original", type=Path, help="the innocent photo")
    result.add_argument("--out", type=Path, metavar="PNG", help="write both faces and their difference side by side")
    result.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    result.add_argument("--lang", choices=LANGUAGES, default="en", help="of the answer (default %(default)s)")
    return result


def scan_parser() -> argparse.ArgumentParser:
    """The arguments of `deepfake-detect scan`."""
    result = argparse.ArgumentParser(
        prog="deepfake-detect scan",
        description="Judge many files and write a table of them, a row each, and a page to look at. Run again after it"
        " was stopped, in whatever way, it goes on where it was; files that changed since are judged anew.",
        epilog="exit status: 0 every file was judged, 1 some could not be, 2 wrong usage, or the"
        " journal beside the table was begun with other settings, 3 a label of --fail-on occurred (whether or not some"
        " could not be judged), 130 interrupted. Nothing leaves this machine, unless --on ray or URLs ask for others.",
    )
    result.add_argument("paths", nargs="+", metavar="PATH",
                        help="a file, a folder with all that is in it, a pattern such as 'queue/**/*.jpg', a URL of such"
                             " (s3://, gs://, az://; extra remote), or - to read names from stdin, one a line")  # fmt: skip
    result.add_argument("--out", type=Path, required=True, metavar="TABLE",
                        help="a name ending in .parquet (extra scan), .csv or .jsonl; index.html and a journal"
                             " are written beside it")  # fmt: skip
    result.add_argument(
        "-0", "--null", action="store_true", help="names on stdin end with a zero byte, as find -print0 does"
    )
    result.add_argument("--follow-links", action="store_true", help="follow links found in folders, too")
    result.add_argument("--restart", action="store_true", help="forget what is known, and judge everything anew")
    result.add_argument("--retry", action="store_true",
                        help="judge anew what took too long or too much memory, or crashed")  # fmt: skip
    result.add_argument("--no-images", action="store_true", help="no crops of faces on the page, nor in the journal")
    result.add_argument("--lang", choices=LANGUAGES, default="en", help="of the page (default %(default)s)")
    result.add_argument("--fail-on", type=_labels, default=(), metavar="LABEL[,LABEL]",
                        help=f"exit with 3 if one of these occurs: {', '.join(_LABELS)}")  # fmt: skip
    result.add_argument("--weights", type=Path, metavar="DIR", help="use the weights in DIR instead of those that ship")
    default, limits = Options(), Limits()
    _add_sampling(result, default)
    cost = result.add_argument_group("what it may take")
    cost.add_argument(
        "--workers", type=int, metavar="N", help="files judged at a time (default: one for each core, of all machines)"
    )
    cost.add_argument("--on", choices=("here", "ray"), default="here",
                      help="this machine, or a Ray cluster whose machines see the files under the same names; extra ray"
                           " (default %(default)s)")  # fmt: skip
    cost.add_argument("--ray-address", metavar="HOST:PORT",
                      help="of the cluster (default: RAY_ADDRESS, else that of this machine, else one is started here;"
                           " local: the last in any case)")  # fmt: skip
    cost.add_argument("--time-limit", type=float, default=limits.seconds, metavar="S",
                      help="seconds for a file (default %(default)s)")  # fmt: skip
    cost.add_argument("--size-limit", type=float, default=limits.file_bytes / 2**30, metavar="GIB",
                      help="larger files are not looked at (default %(default)s)")  # fmt: skip
    cost.add_argument("--memory-limit", type=float, default=limits.memory_bytes / 2**30, metavar="GIB",
                      help="memory for a file, beyond what the net takes; Linux only (default %(default)s)")  # fmt: skip
    result.add_argument("-q", "--quiet", action="store_true", help="print no summary and no progress, only errors")
    return result


def _add_sampling(parser: argparse.ArgumentParser, default: Options) -> argparse._ArgumentGroup:
    """The ways to say how much of a video is looked at, of which one can be given."""
    group = parser.add_argument_group("which frames of a video")
    ways = group.add_mutually_exclusive_group()
    ways.add_argument("--frames", type=int, default=default.frames, metavar="N",
                      help="look at N frames spread over the length (default %(default)s)")  # fmt: skip
    ways.add_argument("--fps", type=float, metavar="F", help="look at F frames a second instead")
    ways.add_argument("--fast", action="store_const", dest="frames", const=FAST_FRAMES,
                      help=f"look at {FAST_FRAMES} frames: a short forged part may lie between them")  # fmt: skip
    ways.add_argument("--thorough", action="store_const", dest="frames", const=EVERY_FRAME,
                      help="look at every frame")  # fmt: skip
    return group


def serve_parser() -> argparse.ArgumentParser:
    """The arguments of `deepfake-detect serve`."""
    result = argparse.ArgumentParser(
        prog="deepfake-detect serve",
        description="Open a page in the browser to which files can be dropped, and serve programs over HTTP. Only this"
        " machine can reach it, unless --host says otherwise; then each request needs a token, which is printed.",
        epilog="Ctrl-C ends it. Unless --keep is given, all that was sent and made is deleted then, and what a page asked"
        " for a minute after that page is closed. exit status: 0 ended, 1 could not be started, 2 wrong usage.",
    )
    result.add_argument("--port", type=int, default=8765, metavar="N", help="0: any that is free (default %(default)s)")
    result.add_argument("--host", default="127.0.0.1", metavar="ADDRESS",
                        help="listen there; 0.0.0.0 for all of this machine's addresses (default %(default)s)")  # fmt: skip
    result.add_argument("--token", default=os.environ.get(_TOKEN_VARIABLE), metavar="TOKEN",
                        help=f"that each request must show; better given as {_TOKEN_VARIABLE} in the environment, where"
                             " other users don't see it")  # fmt: skip
    result.add_argument("--name", action="append", default=[], metavar="NAME",
                        help="another name of the server, such as that of a proxy in front of it")  # fmt: skip
    result.add_argument("--no-browser", action="store_true", help="don't open the page")
    result.add_argument("--keep", type=_duration, metavar="TIME",
                        help="keep results for so long, over a restart, too, such as 90s, 30m, 1h, 7d")  # fmt: skip
    result.add_argument("--data", type=Path, metavar="DIR", help="where files and results lie meanwhile")
    result.add_argument("--queue", type=int, default=100, metavar="N",
                        help="so many files may wait; more are told to come again (default %(default)s)")  # fmt: skip
    result.add_argument("--workers", type=int, metavar="N", help="files judged at a time (default: one for each core)")
    result.add_argument("--time-limit", type=float, default=1800, metavar="S",
                        help="seconds for a file and its report (default %(default)s)")  # fmt: skip
    result.add_argument("--size-limit", type=float, default=4, metavar="GIB",
                        help="larger files are refused (default %(default)s)")  # fmt: skip
    result.add_argument("--rate", type=float, default=600, metavar="N",
                        help="files taken from an address in a minute, where a token is needed"
                             " (default %(default)s)")  # fmt: skip
    result.add_argument(
        "--lang", choices=LANGUAGES, default="en", help="where the browser asks for none of ours (default %(default)s)"
    )
    result.add_argument("--weights", type=Path, metavar="DIR", help="use the weights in DIR instead of those that ship")
    return result


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns:
        The exit status; argparse leaves with 2 by itself on wrong usage.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    with _Interrupt() as interrupt:
        try:
            status = _dispatch(given)
        except KeyboardInterrupt:
            interrupt.seen = True
        except BrokenPipeError:
            # The reader of our output has gone; so should we, without a second complaint at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            status = SOME_NOT_JUDGED
        except Exception:
            # Where a library cleans up after an interrupt and fails at that, its error takes the interrupt's place.
            if not interrupt.seen:
                raise
    if interrupt.seen:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    return status


def _dispatch(given: list[str]) -> int:
    if given[:1] == ["verify"]:
        return _verify(verify_parser().parse_args(given[1:]))
    if given[:1] == ["compare"]:
        return _compare(compare_parser().parse_args(given[1:]))
    if given[:1] == ["scan"]:
        return _scan(scan_parser().parse_args(given[1:]))
    if given[:1] == ["serve"]:
        return _serve(serve_parser().parse_args(given[1:]))
    return _run(parser().parse_args(given))


class _Interrupt:
    """Ctrl-C that can't get lost, while it is used in a `with` statement.

    Python raises KeyboardInterrupt wherever it happens to be, and from some places no exception gets out: FFmpeg calls back
    into Python to write a video, and PyAV drops what is raised there. That it was dropped is told to `sys.unraisablehook`,
    and from there it is sent once more, until it arrives.

    Attributes:
        seen: Whether there was one, whatever came of it.
    """

    def __init__(self) -> None:
        self.seen = False

    def __enter__(self) -> _Interrupt:
        self._handler, self._hook = signal.getsignal(signal.SIGINT), sys.unraisablehook
        # Whoever started us may want it ignored, and only the main thread may handle it.
        self._ours = (
            self._handler is signal.default_int_handler and threading.current_thread() is threading.main_thread()
        )
        if self._ours:
            signal.signal(signal.SIGINT, self._raise)
            sys.unraisablehook = self._dropped
        return self

    def __exit__(self, *_: object) -> None:
        if self._ours:
            self._ours = False
            signal.signal(signal.SIGINT, self._handler)
            sys.unraisablehook = self._hook

    def _raise(self, *_: object) -> None:
        self.seen = True
        raise KeyboardInterrupt

    def _dropped(self, lost: sys.UnraisableHookArgs) -> None:
        if lost.exc_type is KeyboardInterrupt:
            # From another thread and a little later, or it would be raised in here and lost again.
            threading.Timer(0.01, self._again).start()
        else:
            self._hook(lost)

    def _again(self) -> None:
        if self._ours:
            _thread.interrupt_main()


def _run(arguments: argparse.Namespace) -> int:
    logging.basicConfig(level=logging.DEBUG if arguments.verbose else logging.ERROR, format="%(name)s: %(message)s")
    for chatty in ("PIL", "libav", "asyncio"):
        logging.getLogger(chatty).setLevel(logging.ERROR)
    try:
        options = Options(
            frames=arguments.frames, fps=arguments.fps, start_s=arguments.start, end_s=arguments.end,
            provenance=arguments.report is not None, trust=arguments.trust, engine=arguments.engine,
        )  # fmt: skip
        contents = ReportOptions(
            images=not arguments.no_images, whole_frames=arguments.whole_frames, person=arguments.blur_others,
            keep_path=arguments.keep_path, language=arguments.lang, pdf=arguments.pdf,
        )  # fmt: skip
        _check_report_arguments(arguments)
    except OptionsError as error:
        return _stop(str(error), WRONG_USAGE)
    if arguments.report is not None and os.path.lexists(arguments.report) and not os.path.isdir(arguments.report):
        return _stop(f"--report {arguments.report}: is a file; give a folder", WRONG_USAGE)

    # Much is loaded from here on: --help, --version and wrong usage answer at once. What reads the first file comes before
    # all else, so that it is read meanwhile.
    from .media import Opening

    _bear_any_name()
    files: list[str | Opening] = [Opening(arguments.files[0], options), *arguments.files[1:]]
    import cv2
    from rich.console import Console

    from .detector import Detector
    from .report import to_json

    try:
        key = _prepare_report(arguments, contents) if arguments.report is not None else None
        # The stages share the cores among themselves already.
        cv2.setNumThreads(1)
        detector = Detector(options, weights_folder=arguments.weights)
    except OptionsError as error:
        return _stop(str(error), WRONG_USAGE)
    except DeepfakeDetectError as error:
        return _stop(str(error), SOME_NOT_JUDGED)
    out, err = Console(highlight=False, emoji=False), Console(stderr=True, highlight=False, emoji=False)
    folders = _folders(arguments.files, arguments.report)
    status = ALL_JUDGED
    labels = set()
    bar = _Bar(err, len(arguments.files), shown=err.is_terminal and not arguments.quiet)
    try:
        reports = detector.detect_many(files, progress=bar.tick)
        for name, report in zip(arguments.files, reports, strict=True):
            bar.finish()
            if report.error is not None:
                status = SOME_NOT_JUDGED
                print(f"deepfake-detect: {report.error.message}", file=sys.stderr)
            if report.verdict is not None:
                labels.add(report.verdict.label)
            if arguments.json:
                print(to_json(report), flush=True)
            elif report.error is None and not arguments.quiet:
                _summarise(out, report, Words(arguments.lang), verbose=arguments.verbose)
            if arguments.report is not None and not _save(report, folders[name].pop(0), contents, key):
                status = SOME_NOT_JUDGED
    finally:
        bar.stop()
    if labels & set(arguments.fail_on) and status == ALL_JUDGED:
        return LABEL_FOUND
    return status


def _prepare_report(arguments: argparse.Namespace, contents: ReportOptions) -> Ed25519PrivateKey | None:
    """Whether the report asked for can be had here, and the key to sign it with; nothing of it is loaded without need."""
    from .dossier import check, read_key

    check(contents)
    return read_key(arguments.sign) if arguments.sign else None


def _check_report_arguments(arguments: argparse.Namespace) -> None:
    names = ("no_images", "whole_frames", "blur_others", "keep_path", "pdf", "sign", "trust")
    idle = [name for name in names if getattr(arguments, name)]
    if arguments.report is None and idle:
        raise OptionsError(f"--{idle[0].replace('_', '-')} is about the report; give --report DIR too, or leave it out")
    if arguments.no_images and arguments.whole_frames:
        raise OptionsError("--no-images and --whole-frames contradict each other; leave one out")


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
        checks = verify(arguments.folder, media=arguments.media, key=arguments.key, weights_folder=arguments.weights)
    except OptionsError as error:
        return _stop(str(error), WRONG_USAGE)
    good = all(check.good for check in checks)
    if arguments.json:
        print(json.dumps({"good": good, "checks": [vars(check) for check in checks]}))
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
    try:
        found = compare(arguments.suspect, arguments.original)
    except DeepfakeDetectError as error:
        return _stop(str(error), SOME_NOT_JUDGED)
    if arguments.json:
        print(json.dumps(found.to_dict()))
    else:
        words = Words(arguments.lang)
        print(_stable(found.label, words(f"compare_label_{found.label}"), words))
        print(f"  {found.explain(words)}")
        for warning in found.warnings(words):
            print(f"  {warning}")
    try:
        if arguments.out is not None:
            found.save(arguments.out, language=arguments.lang)
    except DeepfakeDetectError as error:
        return _stop(str(error), SOME_NOT_JUDGED)
    except OSError as error:
        return _stop(f"{arguments.out}: can't be written ({error.strerror}); check the folder", SOME_NOT_JUDGED)
    return ALL_JUDGED


def _save(report: Report, folder: Path, contents: ReportOptions, key: Ed25519PrivateKey | None) -> bool:
    try:
        report.save(folder, options=contents, key=key)
    except (MediaError, OptionsError) as error:
        print(f"deepfake-detect: {error}", file=sys.stderr)
        return False
    except OSError as error:
        print(f"deepfake-detect: {folder}: can't be written ({error.strerror}); check the folder", file=sys.stderr)
        return False
    return True


def _folders(names: Sequence[str], root: Path | None) -> dict[str, list[Path]]:
    """Where each file's report goes: `root` itself for one file, else a folder each, named after the file and never
    the same for two."""
    if root is None:
        return {}
    result: dict[str, list[Path]] = {}
    taken: set[str] = set()
    for name in names:
        base = Path(name).name.lstrip("-.") or "file"
        folder, number = base, 2
        while folder.casefold() in taken:
            folder, number = f"{base}-{number}", number + 1
        taken.add(folder.casefold())
        result.setdefault(name, []).append(root if len(names) == 1 else root / folder)
    return result


def _scan(arguments: argparse.Namespace) -> int:
    _bear_any_name()
    try:
        options = Options(frames=arguments.frames, fps=arguments.fps)
        limits = Limits(
            seconds=arguments.time_limit,
            cpu_s=2 * arguments.time_limit,
            memory_bytes=arguments.memory_limit * 2**30,
            file_bytes=arguments.size_limit * 2**30,
        )
        if arguments.workers is not None and arguments.workers < 1:
            raise OptionsError(f"--workers: expected a number from 1, found {arguments.workers}")
        if arguments.ray_address is not None and arguments.on != "ray":
            raise OptionsError("--ray-address is about a cluster; give --on ray too, or leave it out")
    except OptionsError as error:
        return _stop(str(error), WRONG_USAGE)

    from rich.console import Console

    from .batch import scan
    from .page import plain

    bar = _ScanBar(Console(stderr=True, highlight=False), quiet=arguments.quiet)
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
        return _stop(
            f"{error.filename or arguments.out}: {error.strerror or error}; the scan can go on later", SOME_NOT_JUDGED
        )
    finally:
        bar.stop()
    if not arguments.quiet:
        for label, count in found.labels.items():
            print(f"{count:9,}  {label.replace('_', ' ')}")
        for kind, count in found.errors.items():
            print(f"{count:9,}  not judged: {kind.replace('_', ' ')}")
        print(f"{found.files:9,}  files, {found.duplicates:,} of them with the content of another one")
        held = ", ".join(found.confinements) or "nothing"
        print(f"{plain(found.table)} and {plain(found.page)}; the workers were confined by {held}")
    # A queue seldom is without some file that can't be judged, and that must not hide what was asked for.
    if set(found.labels) & set(arguments.fail_on):
        return LABEL_FOUND
    return SOME_NOT_JUDGED if found.errors else ALL_JUDGED


def _names(paths: Sequence[str], *, null: bool) -> Iterator[str]:
    """The paths, and in place of each - those that stdin lists. A name may hold any byte but zero."""
    end = b"\0" if null else b"\n"

    def name_of(line: bytes) -> str:
        # Windows ends lines by two bytes, and its programs write in code pages of their own.
        return line.removesuffix(b"\r").decode("utf-8", "replace") if os.name == "nt" else os.fsdecode(line)

    for path in paths:
        if path != "-":
            yield path
            continue
        rest = b""
        while chunk := os.read(sys.stdin.fileno(), 65536):
            *whole, rest = (rest + chunk).split(end)
            yield from (name_of(line) for line in whole if line)
        if rest:
            yield name_of(rest)


class _ScanBar:
    """How far a scan is, with rate and time left, on stderr: a bar on a terminal, else a line a minute."""

    def __init__(self, err: Console, *, quiet: bool) -> None:
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
        shown = err.is_terminal and not quiet
        self._bar = Progress(*columns, console=err, transient=True, redirect_stdout=False) if shown else None
        self._task = self._bar.add_task("looking for files", total=None) if self._bar else None
        self._quiet, self._next_s = quiet, 0.0
        if self._bar is not None:
            self._bar.start()

    def tell(self, progress: ScanProgress) -> None:
        """So far."""
        rate = progress.judged / progress.seconds if progress.seconds > 0 else 0.0
        said = f"{progress.done:,} of {progress.files:,} files, {rate:.1f} a second"
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, description=said, completed=progress.done, total=progress.files)
        elif not self._quiet and progress.seconds >= self._next_s and progress.judged:
            self._next_s = progress.seconds + 60
            left = (progress.files - progress.done) / rate
            print(
                f"{said}, {left // 3600:.0f}:{left // 60 % 60:02.0f}:{left % 60:02.0f} left",
                file=sys.stderr,
                flush=True,
            )

    def stop(self) -> None:
        """Leave the terminal as it was."""
        if self._bar is not None:
            self._bar.stop()


def _summarise(out: Console, report: Report, words: Words, *, verbose: bool) -> None:
    from rich.markup import escape

    from .media import shown
    from .verdict import reason, warnings

    verdict, info = report.verdict, report.media
    if verdict is None or info is None:
        return
    out.print(f"[bold]{escape(shown(report.path))}[/bold]", soft_wrap=True)
    label = escape(_stable(verdict.label, words(f"label_{verdict.label}"), words))
    if verdict.probability is not None:
        label += f"   P(manipulated) {verdict.probability:.2f}"
        if verdict.interval is not None:
            label += f" ({verdict.interval[0]:.2f} to {verdict.interval[1]:.2f})"
        label += " at even prior odds"
    out.print(f"  [{_STYLES[verdict.label]}]{label}[/]", soft_wrap=True)
    out.print(f"  {escape(reason(report, words))}", soft_wrap=True)
    if info.kind == "video":
        length = f", {info.duration_s:.1f} s" if info.duration_s else ""
        out.print(f"  video {info.width} x {info.height}{length}, {len(report.sampled_times_s)} frames looked at")
    for track in report.tracks:
        out.print(f"  {_person(track, video=info.kind == 'video')}", soft_wrap=True)
        if verbose:
            for score in track.scores:
                said = f"{score.logit:+.2f}" if score.logit is not None else str(score.excluded).replace("_", " ")
                out.print(
                    f"    {score.time_s:8.2f} s  face {score.face.size_px:.0f} px  quality {score.quality:.2f}  {said}"
                )
    notes, calibration = report.notes, report.calibration
    told = warnings(notes, report.tracks, kind=info.kind, calibration=calibration, words=words) if calibration else ()
    for warning in told:
        out.print(f"  [yellow]warning:[/yellow] {escape(warning)}", soft_wrap=True)
    if verbose:
        out.print("  " + ", ".join(f"{stage} {seconds:.2f} s" for stage, seconds in report.timing_s.items()))


def _stable(label: str, said: str, words: Words) -> str:
    """The stable word, for those who search for it; a reader of another language gets theirs before it."""
    stable = label.replace("_", " ")
    return stable if words.language == "en" else f"{said} [{stable}]"


def _person(track: FaceTrack, *, video: bool) -> str:
    from .verdict import strongest_moment

    said = f"person {track.id}: "
    if track.probability is None:
        reasons = sorted({str(score.excluded).replace("_", " ") for score in track.scores})
        return said + f"not judged ({', '.join(reasons)})"
    said += f"P {track.probability:.2f}, evidence {track.logit:+.1f}"
    moment = strongest_moment(track)
    if video and moment is not None:
        said += f", seen {track.start_s:.1f} to {track.end_s:.1f} s, strongest at {moment.time_s:.1f} s"
        said += f" ({len(track.voting)} of {len(track.scores)} views judged)"
    return said


class _Bar:
    """A bar with the time left, over all files, on stderr. Without a terminal it does nothing.

    It gives way to what is printed between two files. stdout stays as it is: a program may read it.
    """

    def __init__(self, err: Console, count: int, *, shown: bool) -> None:
        self._bar: Progress | None = None
        self._done = 0
        if shown:
            from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

            columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
            self._bar = Progress(*columns, console=err, transient=True, redirect_stdout=False)
            self._task = self._bar.add_task("judging", total=count)

    def tick(self, _: object, share: float) -> None:
        """So much of the present file is done."""
        if self._bar is not None:
            self._bar.start()
            self._bar.update(self._task, completed=self._done + share)

    def finish(self) -> None:
        """The present file is done, whatever came of it."""
        self._done += 1
        self.stop()

    def stop(self) -> None:
        """Leave the terminal as it was."""
        if self._bar is not None:
            self._bar.stop()


def _serve(arguments: argparse.Namespace) -> int:
    try:
        from . import serve, upload
    except ImportError as error:
        return _stop(f"serving needs more packages ({error}); pip install 'deepfake-detect[serve]'", WRONG_USAGE)
    from .confine import cores
    from .guard import LOOPBACK

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
        print(f"Ctrl-C ends it, {kept}", file=sys.stderr)

    try:
        serve.serve(place, settings, ready=ready, browser=not arguments.no_browser)
    except OptionsError as error:
        return _stop(str(error), WRONG_USAGE)
    except DeepfakeDetectError as error:
        return _stop(str(error), SOME_NOT_JUDGED)
    return ALL_JUDGED


def _duration(text: str) -> float:
    """Seconds of such as 90s, 30m, 1h, 7d."""
    units = {"s": 1, "m": 60, "h": 3600, "d": 86400}
    try:
        seconds = float(text[:-1]) * units[text[-1]]
    except (ValueError, KeyError, IndexError):
        seconds = 0.0
    if not 0 < seconds < 1e9:
        raise argparse.ArgumentTypeError(f"expected a time such as 90s, 30m, 1h or 7d, found {text!r}")
    return seconds


def _labels(text: str) -> tuple[str, ...]:
    labels = tuple(part.strip() for part in text.split(","))
    unknown = [label for label in labels if label not in _LABELS]
    if unknown:
        raise argparse.ArgumentTypeError(f"unknown label {unknown[0]!r}; choose from {', '.join(_LABELS)}")
    return labels


def _stop(message: str, status: int) -> int:
    print(f"deepfake-detect: {message}", file=sys.stderr)
    return status
