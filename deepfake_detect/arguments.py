"""What the command takes, and the commands within it: options with their meaning, defaults and examples."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from . import __version__, completion
from .confine import Limits
from .options import ENGINES, EVERY_FRAME, FAST_FRAMES, Options
from .words import LANGUAGES

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
  0  every file was judged          2  wrong usage          130  interrupted
  1  some could not be, or a report could not be written
  3  a label of --fail-on occurred, and nothing of that

Nothing leaves this machine. "No manipulation found" does not mean genuine: the tool knows manipulated faces,
and says nothing about a picture whose face is authentic and whose body is not, nor about voices.
"""
_TOKEN_VARIABLE = "DEEPFAKE_DETECT_TOKEN"


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
    result.add_argument("--report", type=Path, metavar="DIR",
                        help="write the report into DIR (several files: a folder each); a finished one that is signed or"
                             " on another file is not replaced")  # fmt: skip
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
        "-v", "--verbose", action="store_true", help="show every view of a face, timings, and errors of decoders"
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
        epilog="exit status: 0 compared, or no face was found to compare; 1 a file could not be read or written"
        " (with --out also where there is no face), 2 wrong usage. Nothing leaves this machine.",
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
                        help='a file, a folder with all that is in it, a pattern such as "queue/**/*.jpg", a URL of such'
                             " (s3://, gs://, az://; extra remote), or - to read names from stdin, one a line")  # fmt: skip
    result.add_argument("--out", type=Path, required=True, metavar="TABLE",
                        help="a name ending in .parquet (extra scan), .csv or .jsonl; index.html and a journal"
                             " are written beside it")  # fmt: skip
    result.add_argument(
        "-0", "--null", action="store_true", help="names on stdin (-) end with a zero byte, as find -print0 does"
    )
    result.add_argument("--follow-links", action="store_true", help="follow links found in folders, too")
    result.add_argument("--restart", action="store_true", help="forget what is known, and judge everything anew")
    result.add_argument("--retry", action="store_true",
                        help="judge anew what took too long or too much memory, crashed, could not be read or met a fault"
                             " of this program")  # fmt: skip
    result.add_argument("--no-images", action="store_true", help="no crops of faces on the page, nor in the journal")
    result.add_argument(
        "--lang", choices=LANGUAGES, default="en", help="of page, summary and progress (default %(default)s)"
    )
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
                      help="memory for a file, beyond what the net takes, so that much for each worker; Linux only"
                           " (default %(default)s)")  # fmt: skip
    result.add_argument("-q", "--quiet", action="store_true", help="print no summary and no progress, only errors")
    return result


def _add_sampling(parser: argparse.ArgumentParser, default: Options) -> argparse._ArgumentGroup:
    """The ways to say how much of a video is looked at, of which one can be given."""
    group = parser.add_argument_group("which frames of a video")
    ways = group.add_mutually_exclusive_group()
    ways.add_argument("--frames", type=int, metavar="N",
                      help="look at N frames spread over the length (default {}, and {} or {} where these leave the"
                      " answer open)".format(*default.looks))  # fmt: skip
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
        " machine can reach it, unless --host or --name says otherwise; then each request needs a token, which is printed.",
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
                        help="another name of the server, such as that of a proxy in front of it; with one each request"
                             " needs a token")  # fmt: skip
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
