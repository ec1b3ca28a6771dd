"""Path -> where a file says it comes from: hashes to match it by, its metadata, what is worth noticing, C2PA.

All of this informs the reader and none of it is proof: metadata is easily written and easily lost, and nothing here moves
a probability. The file is opened once, read-only, and the libraries get the open file and never its name (see `media.py`).
"""

from __future__ import annotations

import hashlib
import re
from datetime import datetime, timedelta
from itertools import product
from typing import TYPE_CHECKING

from .credentials import read_credentials
from .metadata import FREE_TEXT, MAX_NAME, SOFTWARE_FIELDS, Entry, Found, last_part, one_line, read_metadata
from .source import open_file
from .types import Note, Provenance

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from os import PathLike

    from .types import HashedMoment, Kind, NoteKey

MAX_ENTRIES = 200


def examine(
    path: str | PathLike[str], *, kind: Kind, hashes: Sequence[HashedMoment] = (), hashed_s: int | None = None,
    trust_anchors: str = "",
) -> Provenance:  # fmt: skip
    """What a file says about itself. Odd or broken metadata is stated in a note and never an error.

    Args:
        kind: What the file was judged as; a video is not expected to name a camera.
        hashes: Of the decoded picture, or of a video's seconds, in order of time: see `pdq.perceptual_hash`.
        hashed_s: How many seconds at its beginning have each a hash, where a video is longer than that.
        trust_anchors: As `credentials.certificates` gives them: of those whose C2PA signatures are trusted. None are built
            in: a trust list grows old, and whom to trust is for the reader to say.

    Raises:
        MediaError: The file can't be opened or read at all.
        OptionsError: `trust_anchors` are none that the library for C2PA can use, as `credentials.certificates` would have
            said.
    """
    found = Found()
    with open_file(path) as file:
        md5 = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        form = read_metadata(file, found)
        credentials = read_credentials(file, found, trust_anchors)
    _notice(found, camera_expected=kind == "image" and form in ("JPEG", "HEIF"), form=form)
    for origin in credentials.digital_source_types:
        if origin in _GENERATIVE_SOURCES:
            found.note("digital_source_type", field="C2PA", type=origin)
    if hashed_s is not None:
        found.note("hashes_cut", seconds=str(hashed_s))
    withheld = frozenset[str]().union(*(e.withheld_words for e in found.entries))
    metadata = sorted(
        {(one_line(e.group, MAX_NAME), one_line(e.name, MAX_NAME), e.shown(withheld)) for e in found.entries}
    )
    if found.left_out or len(metadata) > MAX_ENTRIES:
        found.note("metadata_cut", kept=str(min(len(metadata), MAX_ENTRIES)))
    return Provenance(
        md5=md5,
        perceptual_hashes=tuple(hashes),
        metadata=tuple(metadata[:MAX_ENTRIES]),
        notes=_merged(found.notes),
        content_credentials=credentials,
    )


# What is worth noticing

# A name that stands in a field which names software -> how it is called. In order; a generator's name goes first.
_GENERATORS = {
    r"stable[ _-]?diffusion|automatic1111|\bsd[ -]?webui\b": "Stable Diffusion",
    r"comfy ?ui": "ComfyUI",
    r"invoke ?ai": "InvokeAI",
    r"novel ?ai": "NovelAI",
    r"mid ?journey": "Midjourney",
    r"dall[·.\- ]?e\b": "DALL-E",
    r"\bopenai\b|chatgpt|gpt-image": "OpenAI",
    r"firefly": "Adobe Firefly",
    r"google ai\b|\bgemini\b": "Google AI",
    r"\bmeta ai\b|imagined with ai": "Meta AI",
    r"microsoft designer|bing image creator": "Microsoft Designer",
    r"leonardo\.ai": "Leonardo.Ai",
    r"\bideogram\b": "Ideogram",
    r"draw things": "Draw Things",
    r"fooocus": "Fooocus",
    r"swarm ?ui": "SwarmUI",
    r"\bgrok\b": "Grok",
    r"\brunway(ml)?\b": "Runway",
    r"\bsora\b": "Sora",
}
_EDITORS = {
    r"photoshop": "Adobe Photoshop",
    r"lightroom": "Adobe Lightroom",
    r"camera raw": "Adobe Camera Raw",
    r"premiere": "Adobe Premiere",
    r"after effects": "Adobe After Effects",
    r"\bgimp\b": "GIMP",
    r"\bkrita\b": "Krita",
    r"affinity": "Affinity Photo",
    r"snapseed": "Snapseed",
    r"facetune": "Facetune",
    r"\bremini\b": "Remini",
    r"face ?app": "FaceApp",
    r"\breface\b": "Reface",
    r"face ?swap": "a face swapper",
    r"deepfacelab|\bdfl\b": "DeepFaceLab",
    r"\broop\b|facefusion|rope-?live|deep-?live-?cam": "a face swapper",
    r"cap ?cut|jianying": "CapCut",
    r"davinci|\bresolve\b": "DaVinci Resolve",
    r"final cut": "Final Cut Pro",
    r"\bimovie\b": "iMovie",
    r"inshot": "InShot",
    r"picsart": "Picsart",
    r"\bpixlr\b": "Pixlr",
    r"\bcanva\b": "Canva",
    r"meitu|beautyplus": "Meitu",
    r"youcam|perfect365": "YouCam",
    r"airbrush": "AirBrush",
    r"\bvsco\b": "VSCO",
    r"photoroom": "PhotoRoom",
    r"pixelmator": "Pixelmator",
    r"luminar": "Luminar",
    r"topaz|gigapixel": "Topaz",
    r"paint\.net": "Paint.NET",
    r"image ?magick": "ImageMagick",
    r"kdenlive": "Kdenlive",
    r"filmora|wondershare": "Filmora",
    r"\bvegas\b": "VEGAS",
    r"kinemaster": "KineMaster",
}
# Lavc is FFmpeg's encoder; Lavf only puts streams into a file, as cameras and recorders have it do, too.
_REENCODERS = {r"handbrake": "HandBrake", r"\blavc\d": "FFmpeg", r"produced by google": "Google (YouTube)"}
# What people write, where a program's name may be a word like others or somebody's name: there it must be spelled out.
_AMBIGUOUS = frozenset({
    r"firefly", r"google ai\b|\bgemini\b", r"\bmeta ai\b|imagined with ai", r"\bideogram\b", r"\bgrok\b",
    r"\brunway(ml)?\b", r"\bsora\b", r"premiere", r"affinity", r"\bremini\b", r"\breface\b", r"davinci|\bresolve\b",
    r"\bcanva\b", r"airbrush", r"luminar", r"topaz|gigapixel", r"\bvegas\b",
    r"\broop\b|facefusion|rope-?live|deep-?live-?cam", r"after effects", r"face ?swap",
})  # fmt: skip
_SPELLED_OUT = {
    r"adobe firefly": "Adobe Firefly", r"(made|edited) with google ai|google gemini|gemini (nano|flash|pro)": "Google AI",
    r"imagined with (meta )?ai\b|(made|generated|edited) with meta ai\b": "Meta AI",
    r"openai sora": "Sora", r"runwayml|runway gen": "Runway", r"xai grok|grok imagine": "Grok",
    r"ideogram\.ai|ideogram ai": "Ideogram", r"adobe premiere|premiere pro": "Adobe Premiere",
    r"affinity (photo|designer)": "Affinity Photo", r"davinci resolve": "DaVinci Resolve",
    r"(sony|magix) vegas|vegas pro": "VEGAS", r"facefusion|deep-?live-?cam|rope-?live": "a face swapper",
    r"adobe after effects": "Adobe After Effects", r"topaz labs|topaz (photo|video|gigapixel)": "Topaz",
    r"luminar (neo|ai|\d)": "Luminar", r"canva\.com": "Canva",
}  # fmt: skip
# Generators also name themselves as the camera and in the credit line.
_GENERATOR_FIELDS = SOFTWARE_FIELDS | {"make", "model", "credit"}
_GENERATIVE_SOURCES = frozenset({
    "trainedAlgorithmicMedia", "compositeWithTrainedAlgorithmicMedia", "algorithmicMedia", "compositeSynthetic",
    "trainedAlgorithmicData",
})  # fmt: skip
_FIELDS_OF_INVOKEAI = frozenset({"invokeaimetadata", "invokeaigraph", "invokeaiworkflow", "sdmetadata", "dream"})
# In the label that Chinese law (GB 45438-2025) wants in generated media; 2 and 3 are for what may be.
_SAYS_GENERATED = re.compile(r"\bLabel\W{1,8}1\b", re.IGNORECASE)
_COMFY_GRAPH = re.compile(r'"class_type"|"last_node_id"')
_DAY = timedelta(days=1)


def _notice(found: Found, *, camera_expected: bool, form: str) -> None:
    entries = list(found.entries)
    for entry in entries:
        if generator := _generator_by_field(entry):
            found.note("generator_data", field=entry.where, generator=generator)
        elif entry.key == "aigc":
            found.note("aigc_label", field=entry.where)
        if entry.key in _GENERATOR_FIELDS and (name := _named(entry, _GENERATORS)):
            found.note("generator_named", field=entry.where, generator=name)
        if entry.key in SOFTWARE_FIELDS:
            if name := _named(entry, _EDITORS):
                found.note("editing_software", field=entry.where, software=name)
            if "(audio)" not in entry.group and (name := _named(entry, _REENCODERS)):
                found.note("encoded_again", field=entry.where, encoder=name)
        if entry.key in ("digitalsourcetype", "digitalsourcefiletype"):
            origin = last_part(entry.text)
            if origin in _GENERATIVE_SOURCES:
                found.note("digital_source_type", field=entry.where, type=origin)
    if camera_expected and not {"make", "model"} & {entry.key for entry in entries}:
        found.note("no_camera_data", format=form)
    _notice_times(found, entries)


def _generator_by_field(entry: Entry) -> str | None:
    """The image generator that writes such a field."""
    key, text = entry.key, entry.text[:10_000]
    graph = ("prompt:{", "workflow:{")
    if text.startswith(graph) or (key in ("prompt", "workflow", "comment") and re.search(_COMFY_GRAPH, entry.text)):
        return "ComfyUI"
    if "sui_image_params" in text:
        return "SwarmUI"
    if re.search(r"\bSteps: \d+, Sampler: ", text):
        return "Stable Diffusion WebUI"
    if key in _FIELDS_OF_INVOKEAI:
        return "InvokeAI"
    if key == "fooocusscheme":
        return "Fooocus"
    if key == "description" and re.search(r"\bJob ID: [0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", text):
        return "Midjourney"
    return "AIGC" if key == "aigc" and re.search(_SAYS_GENERATED, text) else None


def _merged(notes: Iterable[Note]) -> tuple[Note, ...]:
    """Sorted, each once: what several fields say alike becomes one note that names them all."""
    fields: dict[tuple[NoteKey, tuple[tuple[str, str], ...]], set[str]] = {}
    for note in notes:
        rest = {name: value for name, value in note.values.items() if name != "field"}
        named = fields.setdefault((note.key, tuple(sorted(rest.items()))), set())
        if "field" in note.values:
            named.add(note.values["field"])
    merged = []
    for (key, values), named in sorted(fields.items()):
        merged.append(Note(key, dict(values) | ({"field": ", ".join(sorted(named))} if named else {})))
    return tuple(merged)


def _named(entry: Entry, names: dict[str, str]) -> str | None:
    """How the program is called that the field names, if it is one of these."""
    if entry.key in FREE_TEXT:
        called = set(names.values())
        names = {pattern: name for pattern, name in names.items() if pattern not in _AMBIGUOUS}
        names |= {pattern: name for pattern, name in _SPELLED_OUT.items() if name in called}
    return next((name for pattern, name in names.items() if re.search(pattern, entry.text[:2000], re.IGNORECASE)), None)


# When it was taken, and when it was last changed.
_TAKEN = ("EXIF DateTimeOriginal", "XMP exif:DateTimeOriginal", "XMP photoshop:DateCreated",
          "container com.apple.quicktime.creationdate")  # fmt: skip
_CHANGED = ("EXIF DateTime", "XMP xmp:ModifyDate", "container creation_time")


def _notice_times(found: Found, entries: Iterable[Entry]) -> None:
    """Times that don't fit. Time zones are often missing, so less than a day says nothing but within one standard."""
    times: dict[str, datetime] = {}
    for entry in entries:
        where = f"{entry.group} {entry.name}"
        if where in (*_TAKEN, *_CHANGED) and (time := _time(entry.text)):
            times.setdefault(where, time)
    told: set[str] = set()
    for taken, changed in product(
        (name for name in _TAKEN if name in times), (name for name in _CHANGED if name in times)
    ):
        gap = times[changed] - times[taken]
        tolerated = timedelta(minutes=1) if taken.startswith("EXIF") and changed.startswith("EXIF") else _DAY
        values = {"taken_field": taken, "taken": str(times[taken]), "changed_field": changed,
                  "changed": str(times[changed])}  # fmt: skip
        # The same two times mostly stand in several fields: once is enough.
        if gap < -tolerated and "before" not in told:
            told.add("before")
            found.note("changed_before_taken", **values)
        elif gap > _DAY and "after" not in told:
            told.add("after")
            found.note("times_disagree", days=str(gap.days), **values)


def _time(text: str) -> datetime | None:
    """EXIF's `2026:11:24 10:00:00` or ISO 8601, as the clock showed it there; None for what was never set."""
    match = re.match(r"(\d{4})[:-](\d\d)[:-](\d\d)[ T](\d\d):(\d\d)(?::(\d\d))?", text.strip()[:40])
    try:
        time = datetime(*(int(part or 0) for part in match.groups())) if match else None  # type: ignore[arg-type]
    except ValueError:
        return None
    # Containers count from 1904 or 1970, and a clock that was never set says so.
    return time if time and time.year >= 1980 else None
