"""Report -> one HTML page that needs nothing else: no script, no network, light and dark, on paper and on a phone.

The page holds no picture but face crops. Its words come from `words.py`, its shape from `page.html.j2`; all that comes from
the file (its name, its metadata) is escaped, and marks that turn the direction of writing are taken out.
"""

from __future__ import annotations

import base64
import io
import unicodedata
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from PIL import Image

from . import draw, verdict
from .metadata import WITHHELD
from .options import Options, ReportOptions
from .types import unbroken
from .words import Words

if TYPE_CHECKING:
    from collections.abc import Sequence

    import jinja2
    from markupsafe import Markup

    from .types import Bands, FaceTrack, OtherGroups, Report, Score

TEMPLATE = "page.html.j2"
# Of each person, so many views beside their maps; along the time so many small ones, of all people together.
_TELLING, _MOMENTS = 4, 96
# So many people in detail; the others stand in report.json.
_MOST_PEOPLE = 8
_CROP_PX, _MOMENT_PX = 192, 96
# Odds of manipulation before, as (for, against).
PRIORS = ((1, 99), (1, 10), (1, 1), (10, 1))
# The timeline's drawing area, in its own units, and how far it reaches in logits.
_WIDTH, _HEIGHT = 720, 180
_REACH = 8.0


@dataclass(frozen=True)
class View:
    """A judged view of a face as the page shows it: its crop and the same with heat, as data URIs."""

    time_s: float
    logit: float
    crop: str
    heat: str
    share: float
    hottest: float


@dataclass(frozen=True)
class Moment:
    """A dot of the timeline, in the drawing's units; `picture` is empty where no crop was kept."""

    x: float
    y: float
    time_s: float
    logit: float
    picture: str


@dataclass(frozen=True)
class Timeline:
    """Evidence of one person over the video: a line for each time in which every look found the person; `even` is where the
    odds are even, as a height and in logits."""

    moments: tuple[Moment, ...]
    lines: tuple[str, ...]
    strongest: Moment
    seconds: tuple[tuple[float, str], ...]
    levels: tuple[tuple[float, str], ...]
    even: tuple[float, float] | None


@dataclass(frozen=True)
class Person:
    """One person as the page shows them; `brief` where they were judged, and in too few views to decide."""

    track: FaceTrack
    brief: bool
    why: str
    views: tuple[View, ...]
    timeline: Timeline | None


def html(
    report: Report, *, options: ReportOptions | None = None, created_utc: str = "", rerun: str = "", paper: bool = False
) -> str:
    """The page.

    Args:
        options: What it may show, and its language.
        created_utc: When the media were examined, ISO 8601; left out where empty.
        rerun: The command that checks the report's folder; empty where none was written.
        paper: Without what only appears when it is pointed at.
    """
    options = options or ReportOptions()
    words = Words(options.language)
    shown = [track for track in report.tracks if options.person in (None, track.id)]
    decides = verdict.deciding(report.tracks)
    ordered = sorted(shown, key=lambda track: (track is not decides, -(track.probability or 0.0), track.id))
    people, brief = ordered[:_MOST_PEOPLE], verdict.seen_too_briefly(report.tracks)
    answer = report.verdict
    ratio = answer.likelihood_ratio if answer else None
    page = templates().get_template(TEMPLATE)
    rendered: str = page.render(
        w=words,
        report=report,
        name=plain(report.path if options.keep_path else Path(report.path).name or report.path),
        reason=verdict.reason(report, words),
        what_next=_what_next(report, words),
        part=[words(f"note_{note.key}", **note.values) for note in report.notes if note.key == "part"],
        interval=verdict.told_interval(answer) if answer else None,
        support=_support(ratio, words) if ratio else "",
        people=[
            _person(track, report, options, words, moments=_MOMENTS // len(people), brief=track in brief)
            for track in people
        ],
        more=draw.left_out(ordered[_MOST_PEOPLE:], words),
        legend=_data_uri(_legend()),
        hottest=draw.HOTTEST,
        even=report.calibration.image.even if report.calibration else None,
        width=_WIDTH,
        height=_HEIGHT,
        many=_many(report, words),
        facts=_facts(report, created_utc, words),
        warnings=_warnings(report, words),
        notes=_notes(report, words),
        credentials=_credentials(report, words),
        errors=_errors(report, words),
        odds=_odds(ratio, words) if ratio else "",
        person=options.person,
        priors=posteriors(ratio) if ratio else (),
        limits=limits(report),
        withheld=WITHHELD,
        images=options.images,
        judged=sum(len(track.voting) for track in shown),
        maps=sum(len(track.heatmaps) for track in shown),
        rerun=rerun,
        paper=paper,
    )
    return rendered


def _support(ratio: float, words: Words) -> str:
    side = "manipulated" if ratio >= 1 else "genuine"
    return words(f"page_support_{side}", strength=words(verdict.strength(ratio)))


def _what_next(report: Report, words: Words) -> str:
    """What the reader can do, by the label; where another copy may help, by the kind of media."""
    if report.verdict is None or report.media is None:
        return ""
    label, kind = report.verdict.label, report.media.kind
    if label == "inconclusive":
        return words(f"next_{label}{_alone(report)}_{kind}")
    return words(f"next_{label}_{kind}" if label == "no_face" else f"next_{label}")


def _many(report: Report, words: Words) -> str:
    """Of several people who decide, how many are too many for one alone to make the media manipulated."""
    if report.calibration is None or report.media is None or len(verdict.seen_enough(report.tracks)) < 2:
        return ""
    kind = report.media.kind
    people = verdict.too_many_for_one(report.calibration.bands(kind))
    return words(f"page_many_{kind}", people=people) if people else ""


def _alone(report: Report) -> str:
    """The end of a text's key: whether somebody would be called manipulated who was seen alone, or only all together who do
    not decide, or a part would be."""
    if report.calibration is None or report.media is None:
        return ""
    bands, tracks = report.calibration.bands(report.media.kind), report.tracks
    people = [*verdict.seen_enough(tracks), *verdict.seen_in_part(tracks)]
    if verdict.one_alone_shows(verdict.evidence(people), bands):
        return "_alone"
    others = verdict.together(tracks)
    if others is not None and verdict.one_alone_shows(verdict.evidence([others]), bands):
        return "_together"
    return "_part" if verdict.one_alone_shows(verdict.evidence(verdict.shown_in_part(tracks)), bands) else ""


def _odds(ratio: float, words: Words) -> str:
    times = max(ratio, 1 / ratio)
    return words(
        "page_meaning_more" if ratio >= 1 else "page_meaning_less",
        ratio=words.number(times, ".0f" if times >= 10 else ".1f"),
    )


def _errors(report: Report, words: Words) -> list[Markup]:
    """How often the bands erred on the media they were fitted on, and on people and clips they were not fitted on."""
    from markupsafe import Markup, escape

    if report.calibration is None or report.media is None:
        return []
    known, kind = report.calibration, report.media.kind
    bands, elsewhere = known.bands(kind), known.other_groups.get(kind)
    said = [words("page_errors_help", data="\0", **_counted(bands, bands))]
    if elsewhere is not None:
        said.append(
            words("page_errors_other_groups", inconclusive=elsewhere.inconclusive, **_counted(bands, elsewhere))
        )
    # What the media were stands in the manifest, in English.
    data = escape(known.data)
    if words.language != "en":
        data = Markup('<span lang="en">{}</span>').format(data)
    return [escape(text).replace("\0", data) for text in (*said, words("page_errors_beyond"))]


def _counted(bands: Bands, rates: Bands | OtherGroups) -> dict[str, float]:
    """Rates as numbers of the files that `bands` knows, with intervals: those of one group may all be judged alike."""
    alarms, misses = round(rates.false_alarm_rate * bands.genuine), round(rates.miss_rate * bands.manipulated)
    # What an older calibration knows is how many groups there are, or of how many files.
    genuine = bands.genuine_effective or bands.genuine_groups or bands.genuine
    manipulated = bands.manipulated_effective or bands.manipulated_groups or bands.manipulated
    alarms_low, alarms_high = verdict.wilson(rates.false_alarm_rate * genuine, genuine)
    misses_low, misses_high = verdict.wilson(rates.miss_rate * manipulated, manipulated)
    return {
        "genuine": bands.genuine, "false_alarms": alarms, "alarms_low": alarms_low, "alarms_high": alarms_high,
        "manipulated": bands.manipulated, "misses": misses, "misses_low": misses_low, "misses_high": misses_high,
    }  # fmt: skip


def limits(report: Report) -> tuple[str, ...]:
    """What no such finding can say, as the words are named."""
    everywhere = ("face", "body", "voice", "unknown", "genuine")
    return (*everywhere, "between") if report.media and report.media.kind == "video" else everywhere


def posteriors(ratio: float, priors: Sequence[tuple[int, int]] = PRIORS) -> tuple[tuple[str, float], ...]:
    """What a likelihood ratio makes of odds held before: (odds, probability after) for each of these."""
    return tuple((f"{a} : {b}", ratio * a / (ratio * a + b)) for a, b in priors)


@cache
def templates(folder: Path = Path(__file__).parent) -> jinja2.Environment:
    """The templates of pages in a folder, which escape what is put into them, and can make it `plain`."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder), autoescape=True, trim_blocks=True, lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    environment.filters["plain"] = plain
    return environment


def plain(text: object) -> str:
    """Text on one line without marks that are not seen, above all those that turn the direction of writing.

    A name like `photo[turn]gpj.exe` would otherwise read as another one.
    """
    kinds = ((c, unicodedata.category(c)) for c in str(text))
    # Half of a surrogate pair stands for a byte of a name that is not UTF-8, and no file can hold it.
    spoken = (
        " " if kind in ("Zl", "Zp", "Cc") else "\ufffd" if kind == "Cs" else c for c, kind in kinds if kind != "Cf"
    )
    return "".join(spoken)


def _warnings(report: Report, words: Words) -> tuple[str, ...]:
    if report.calibration is None or report.media is None:
        return ()
    kind, calibration = report.media.kind, report.calibration
    # That it is a part stands in the finding itself, where nobody overlooks it.
    notes = [note for note in report.notes if note.key != "part"]
    return verdict.warnings(notes, report.tracks, kind=kind, calibration=calibration, words=words)


def _person(
    track: FaceTrack, report: Report, options: ReportOptions, words: Words, *, moments: int, brief: bool
) -> Person:
    reasons = sorted({words(f"excluded_{score.excluded}") for score in track.scores if score.excluded})
    drawn = [score for score in draw.telling(track, _TELLING) if options.images]
    video = report.media is not None and report.media.kind == "video"
    return Person(
        track,
        brief,
        ", ".join(reasons),
        tuple(_view(score) for score in drawn),
        _timeline(track, report, words, pictures=moments if options.images else 0) if video and track.voting else None,
    )


def _view(score: Score) -> View:
    heatmap = score.heatmap
    assert heatmap is not None
    assert score.logit is not None
    return View(
        score.time_s,
        score.logit,
        _data_uri(_reduced(heatmap.crop.pixels, _CROP_PX)),
        _data_uri(_reduced(draw.overlay_crop(heatmap), _CROP_PX)),
        float((heatmap.evidence > 0).mean()),
        float(heatmap.evidence.max()),
    )


def _timeline(track: FaceTrack, report: Report, words: Words, *, pictures: int) -> Timeline:
    voting = track.voting
    times = report.sampled_times_s or (track.start_s, track.end_s)
    first, last = times[0], max(times[-1], times[0] + 1e-3)
    kept = [i for i, score in enumerate(voting) if score.heatmap is not None]
    spread: list[int] = np.linspace(0, len(kept) - 1, min(pictures, len(kept))).round().astype(int).tolist()
    with_picture = {kept[i] for i in spread}
    moments = []
    for i, score in enumerate(voting):
        logit = score.logit or 0.0
        picture = ""
        if i in with_picture and score.heatmap is not None:
            picture = _data_uri(_reduced(draw.overlay_crop(score.heatmap), _MOMENT_PX))
        x = _WIDTH * (score.time_s - first) / (last - first)
        moments.append(Moment(round(x, 1), _height(logit), score.time_s, logit, picture))
    shares = (0, 0.25, 0.5, 0.75, 1)
    # Finer where labels would be equal.
    digits = ".1f" if last - first >= 0.4 else ".2f"
    even = report.calibration.bands("video").even if report.calibration else None
    return Timeline(
        tuple(moments),
        tuple(
            " ".join(f"{moment.x},{moment.y}" for moment in moments[run])
            for run in unbroken([score.time_s for score in voting], report.sampled_times_s)
        ),
        max(moments, key=lambda moment: moment.logit),
        tuple((round(_WIDTH * share, 1), words.number(first + share * (last - first), digits)) for share in shares),
        tuple((_height(level), words.number(level, "+g")) for level in (-8, -4, 0, 4, 8)),
        None if even is None else (_height(even), even),
    )


def _height(logit: float) -> float:
    return round(_HEIGHT * (0.5 - min(max(logit, -_REACH), _REACH) / (2 * _REACH)), 1)


def _facts(report: Report, created_utc: str, words: Words) -> Sequence[tuple[str, str]]:
    info, tool = report.media, report.tool
    facts = []
    if info is not None:
        facts += [
            ("kind", words(f"page_kind_{info.kind}")),
            ("size", words("page_bytes", bytes=f"{info.size_bytes:,}".replace(",", "\u202f"))),
        ]
        facts += [("dimensions", f"{info.width} × {info.height}"), ("codec", plain(info.codec))]
        if info.container:
            # Several are read alike.
            facts.append(("container", plain(info.container.replace(",", " / "))))
        if info.duration_s is not None:
            facts.append(("duration", f"{words.number(info.duration_s, '.2f')} s"))
        if info.starts_late:
            facts.append(("start", f"{words.number(info.start_s or 0.0, '.2f')} s"))
        if info.fps is not None:
            facts.append(("fps", words.number(info.fps, ".2f")))
        facts.append(("sampled", _sampled(report.sampled_times_s, words)))
        facts += [("effort", "; ".join(why)) for why in [verdict.effort(report, words)] if why]
    if created_utc:
        facts.append(("created", created_utc))
    # A saved report has its provenance anyway: no reader needs to be told that this was asked for. The engine stands above.
    default = {**asdict(Options()), "provenance": report.options.provenance, "engine": report.options.engine}
    changed = [plain(f"{name} {value}") for name, value in asdict(report.options).items() if value != default[name]]
    facts += [("tool", f"deepfake_detect {tool.version}, engine {report.options.engine}")]
    facts.append(("model", f"{tool.model}, SHA-256 {tool.model_sha256}"))
    if report.error is None:
        facts.append(("calibration", tool.calibration))
    facts += [("options", ", ".join(changed) or words("page_fact_none"))]
    return [(words(f"page_fact_{key}"), value) for key, value in facts]


def _sampled(times: Sequence[float], words: Words) -> str:
    if len(times) < 2:
        return str(len(times))
    listed = "; ".join(words.number(time_s, ".2f") for time_s in times[:200])
    return f"{len(times)}: {listed}{' …' if len(times) > 200 else ''} s"


def _notes(report: Report, words: Words) -> list[str]:
    known = report.provenance
    return [words(f"note_{note.key}", **note.values) for note in known.notes] if known else []


def _credentials(report: Report, words: Words) -> list[str]:
    if report.provenance is None:
        return []
    known = report.provenance.content_credentials
    if known.state == "not_read":
        return [words(f"credentials_not_read_{known.reason}")]
    signer = ", ".join(part for part in (known.signer, known.issuer) if part) or "?"
    # Of a signer whom nobody asked about nothing is said but that.
    unasked = "_no_list" if known.state == "untrusted" and report.options.trust is None else ""
    said = [words(f"credentials_{known.state}{unasked}", signer=signer, failures=", ".join(known.failures) or "?")]
    if known.state != "absent":
        said.append(
            words("credentials_details", generator=known.generator or "–", time=known.time or "–",
                  actions=", ".join(known.actions) or "–", sources=", ".join(known.digital_source_types) or "–")
        )  # fmt: skip
    return said


def _legend() -> np.ndarray:
    ramp = np.tile(np.linspace(0, draw.HOTTEST, 240, dtype=np.float32), (14, 1))
    colours, opacity = draw.heat(ramp)
    return draw.mix(np.full((14, 240, 3), 128, np.uint8), colours, opacity)


def _reduced(pixels: np.ndarray, side: int) -> np.ndarray:
    return np.asarray(cv2.resize(pixels, (side, side), interpolation=cv2.INTER_AREA))


def _data_uri(pixels: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=82)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def in_notebook(report: Report) -> str:
    """The page in a frame of its own, so that its style stays inside: for a notebook's cell."""
    from html import escape

    frame, title = escape(html(report), quote=True), Words()("page_notebook_title")
    return f'<iframe srcdoc="{frame}" title="{title}" sandbox width="100%" height="720" style="border:0"></iframe>'
