"""What passes between the stages: frozen, checked when made, in pixels and seconds of the media.

Images are uint8 (H, W, 3) RGB, upright. Coordinates are pixels of that frame, a box is `(x0, y0, x1, y1)` and may reach
beyond it. Times are seconds from the stream's own time stamps. A `logit` is the net's output less what softness explains,
see `Softness`: the higher, the more it leans to manipulated. A `probability` is calibrated P(manipulated) at even prior
odds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from .options import Options

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from os import PathLike

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from matplotlib.figure import Figure
    from pandas import DataFrame

    from .options import ReportOptions

Box = tuple[float, float, float, float]
Kind = Literal["image", "video"]
Label = Literal["manipulated", "inconclusive", "no_manipulation_found", "no_face"]
Exclusion = Literal["too_small", "too_blurred", "too_uncertain"]
NoteKey = Literal[
    "aigc_label", "changed_before_taken", "credentials_elsewhere", "digital_source_type", "editing_software",
    "encoded_again", "few_frames", "frames_missing", "frames_not_decoded", "generator_data", "generator_named",
    "hashes_cut", "hdr", "interlaced", "metadata_cut", "metadata_unreadable", "motion_photo", "no_camera_data",
    "other_faces", "other_pages", "other_pictures", "other_videos", "part", "picture_coarse", "picture_cut_short",
    "size_changes", "times_disagree", "times_start_again", "transparent", "video_cut_short",
]  # fmt: skip
CredentialState = Literal["not_read", "absent", "valid", "invalid", "untrusted"]
#: MTCNN looks for faces in sizes of the picture, each of which is so much smaller than the one before.
PYRAMID_FACTOR = 0.709


def _check_image(pixels: np.ndarray) -> None:
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or 0 in pixels.shape:
        raise ValueError(f"pixels must be uint8 (H, W, 3), found {pixels.dtype} {pixels.shape}")


@dataclass(frozen=True)
class MediaInfo:
    """What a file is, before any judgement.

    Attributes:
        path: As the user gave it; an array has `<array>`.
        kind: `image` or `video`.
        size_bytes: Of the file.
        sha256: Of the file's bytes.
        width: Upright, pixels.
        height: Upright, pixels.
        duration_s: None for a picture, and where the container does not say.
        fps: Average frames per second; None for a picture, and where the container does not say.
        codec: Such as `h264` or `jpeg`.
        container: Of a video, as FFmpeg names it, with all that are read alike: `mov,mp4,m4a,3gp,3g2,mj2`; None where the
            codec says it, as for a picture.
        start_s: Time stamp of the first frame, from which `Options.start_s` and `end_s` count; None for a picture.
    """

    path: str
    kind: Kind
    size_bytes: int
    sha256: str
    width: int
    height: int
    duration_s: float | None = None
    fps: float | None = None
    codec: str = ""
    container: str | None = None
    start_s: float | None = None

    def __post_init__(self) -> None:
        if self.width < 1 or self.height < 1:
            raise ValueError(f"a picture needs an area, found {self.width} x {self.height}")

    @property
    def starts_late(self) -> bool:
        """Whether times by the video's own clock, as they are told, are others than those that count from the first frame,
        as `Options.start_s` and players do."""
        return bool(round(self.start_s or 0.0, 2))


@dataclass(frozen=True, eq=False)
class Frame:
    """One upright picture of the media.

    Attributes:
        pixels: uint8 (H, W, 3) RGB.
        time_s: From the stream's time stamps; 0 for a picture.
        sampled: Whether it is one of those to look at; else it begins a second, and only its hash is wanted.
    """

    pixels: np.ndarray
    time_s: float = 0.0
    sampled: bool = True

    def __post_init__(self) -> None:
        _check_image(self.pixels)


@dataclass(frozen=True)
class Face:
    """One face in one frame.

    Attributes:
        box: Pixels of the frame.
        landmarks: Five (x, y): the person's right eye, left eye, nose tip, right and left mouth corner.
        confidence: Of the detector, 0 to 1.
    """

    box: Box
    landmarks: tuple[tuple[float, float], ...]
    confidence: float

    def __post_init__(self) -> None:
        if not (self.box[2] > self.box[0] and self.box[3] > self.box[1]):
            raise ValueError(f"a box needs an area, found {self.box}")
        if len(self.landmarks) != 5:
            raise ValueError(f"expected 5 landmarks, found {len(self.landmarks)}")

    @property
    def size_px(self) -> float:
        """Longer side of the box."""
        return max(self.box[2] - self.box[0], self.box[3] - self.box[1])


def unbroken(times_s: Sequence[float], sampled_s: Sequence[float]) -> list[slice]:
    """Runs of views between which no other frame was looked at: where one was, and was not judged, no line must lead.

    Args:
        times_s: Of a person's views that were judged, in order.
        sampled_s: Of all frames that were looked at, in order.
    """
    places = np.searchsorted(np.asarray(sampled_s, float), np.asarray(times_s, float) - 1e-6)
    ends = [*(np.flatnonzero(np.diff(places) > 1) + 1).tolist(), len(times_s)]
    return [slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]


def iou(a: Sequence[float] | np.ndarray, b: Sequence[float] | np.ndarray) -> float:
    """Intersection over union of two boxes (x0, y0, x1, y1); 0 when they don't touch."""
    across = min(a[2], b[2]) - max(a[0], b[0])
    down = min(a[3], b[3]) - max(a[1], b[1])
    if across <= 0 or down <= 0:
        return 0.0
    shared = across * down
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
    return float(shared / union)


@dataclass(frozen=True, eq=False)
class Crop:
    """A face cut out of a frame.

    Attributes:
        pixels: uint8 (S, S, 3) RGB.
        to_frame: (2, 3) affine: pixel centre in the crop -> pixel centre in the frame.
    """

    pixels: np.ndarray
    to_frame: np.ndarray

    def __post_init__(self) -> None:
        _check_image(self.pixels)
        if self.to_frame.shape != (2, 3):
            raise ValueError(f"to_frame must be (2, 3), found {self.to_frame.shape}")

    def mirrored(self) -> Crop:
        """Left and right exchanged."""
        side = self.pixels.shape[1]
        across = self.to_frame[:, :1]
        moved = np.hstack([-across, self.to_frame[:, 1:2], self.to_frame[:, 2:] + across * (side - 1)])
        return Crop(np.ascontiguousarray(self.pixels[:, ::-1]), moved)


@dataclass(frozen=True, eq=False)
class Heatmap:
    """Where in a crop the evidence lies.

    Attributes:
        evidence: float32 (h, w) in logits over the crop: the higher, the more it leans to manipulated.
        crop: The crop it lies over, that of the first look; the other looks' maps were carried onto it.
    """

    evidence: np.ndarray
    crop: Crop

    def __post_init__(self) -> None:
        if self.evidence.ndim != 2:
            raise ValueError(f"evidence must be (h, w), found {self.evidence.shape}")


@dataclass(frozen=True)
class Score:
    """What was found for one face in one frame.

    Attributes:
        time_s: Of the frame.
        face: The face.
        quality: 0 (nothing to judge) to 1: how much the picture of this face lets one judge.
        excluded: Why it does not vote, or None when it does.
        logit: The net's output less what softness explains; None when excluded.
        heatmap: None when excluded, and where it is not among the most telling ones, see `Options.max_heatmaps`.
    """

    time_s: float
    face: Face
    quality: float
    excluded: Exclusion | None = None
    logit: float | None = None
    heatmap: Heatmap | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        if not 0 <= self.quality <= 1:
            raise ValueError(f"quality must be 0 to 1, found {self.quality}")
        if (self.excluded is None) != (self.logit is not None):
            raise ValueError("a score has either a logit or a reason why not")


@dataclass(frozen=True)
class FaceTrack:
    """One person through the media.

    Attributes:
        id: From 1, in order of appearance.
        scores: In order of time, at least one.
        logit: Pooled over the scores that vote; None when none does.
        probability: Calibrated; None when `logit` is.
        interval: 95 % interval of the probability; None likewise.
    """

    id: int
    scores: tuple[Score, ...]
    logit: float | None = None
    probability: float | None = None
    interval: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if not self.scores:
            raise ValueError("a track needs at least one score")

    @property
    def start_s(self) -> float:
        """When the person is first seen."""
        return self.scores[0].time_s

    @property
    def end_s(self) -> float:
        """When the person is last seen."""
        return self.scores[-1].time_s

    @property
    def voting(self) -> tuple[Score, ...]:
        """The scores that vote."""
        return tuple(score for score in self.scores if score.logit is not None)

    @property
    def quality(self) -> float:
        """Mean over the scores that vote, 0 to 1; 0 where none does."""
        voting = self.voting
        return sum(score.quality for score in voting) / len(voting) if voting else 0.0

    @property
    def heatmaps(self) -> tuple[Heatmap, ...]:
        """Those that were kept, of scores that vote, in order of time."""
        return tuple(score.heatmap for score in self.scores if score.heatmap is not None)


@dataclass(frozen=True)
class Verdict:
    """The answer for one file.

    Attributes:
        label: `manipulated`, `inconclusive`, `no_manipulation_found` or `no_face`.
        probability: Calibrated P(manipulated) at even prior odds; None where no face could be judged.
        likelihood_ratio: How many times more probable the finding is if manipulated than if not; None likewise.
        reason: One sentence for a lay person.
        interval: 95 % interval of the probability, of all who decide together; None where `probability` is.
    """

    label: Label
    probability: float | None
    likelihood_ratio: float | None
    reason: str
    interval: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if self.label not in get_args(Label):
            raise ValueError(f"label must be one of {get_args(Label)}, found {self.label!r}")
        judged = self.label in ("manipulated", "no_manipulation_found")
        if (self.probability is None and judged) or (self.probability is not None and self.label == "no_face"):
            raise ValueError(f"{self.label} with probability {self.probability}")
        if (self.probability is None) != (self.likelihood_ratio is None):
            raise ValueError("probability and likelihood_ratio are set together")
        if self.probability is not None and not 0 <= self.probability <= 1:
            raise ValueError(f"probability must be 0 to 1, found {self.probability}")


# Of a crop around a face: what is cut grows with its square. Closer than this there is hardly a face.
_CLOSEST_MARGIN, _WIDEST_MARGIN = -0.3, 4
# With such an r log-mean-exp lies less than a hundredth of a logit below the maximum. A larger one could only overflow.
_SHARPEST = 1000


@dataclass(frozen=True)
class Architecture:
    """Everything that fixes the shape of a net and the crop it expects. Read from the manifest, never guessed.

    Attributes:
        size: Side of the crop in pixels, a multiple of 16.
        margin: Extra around the face on each side, as a fraction of the longer side of its box.
        least_margin: Where the frame ends earlier, the margin shrinks with it, down to this; None keeps it as it is, and
            beyond the frame its edge repeats. See `crop.margin_within`.
        backbone: EfficientNet-Lite's size: `lite0`, `lite1` or `lite2`.
        stages: How many of its seven stages are kept: 4, 5 or 7.
        head: Channels in which the levels are merged.
        residual: 1 to give the net the picture's noise residual beside its colours, 0 not to.
        mean: Per channel, on the 0-255 scale.
        std: Per channel, on the 0-255 scale.
        pooling: `log_mean_exp` is the only one so far.
        sharpness: The r of log-mean-exp; 0 would be the mean, infinity the maximum.
    """

    size: int = 224
    margin: float = 0.18
    least_margin: float | None = None
    backbone: str = "lite0"
    stages: int = 5
    head: int = 64
    residual: int = 0
    mean: tuple[float, float, float] = (127.0, 127.0, 127.0)
    std: tuple[float, float, float] = (128.0, 128.0, 128.0)
    pooling: str = "log_mean_exp"
    sharpness: float = 1.0

    def __post_init__(self) -> None:
        if len(self.mean) != 3 or len(self.std) != 3:
            raise ValueError(f"mean and std must be a value for each of 3 channels, found {self.mean}, {self.std}")
        if not all(0 <= mean <= 255 for mean in self.mean) or not all(1 <= std <= 255 for std in self.std):
            raise ValueError(f"mean must be 0 to 255 and std 1 to 255, found {self.mean}, {self.std}")
        if self.size > 1024 or not 1 <= self.head <= 4096:
            raise ValueError(f"size must be at most 1024 and head 1 to 4096, found {self.size} and {self.head}")
        if self.size < 64 or self.size % 16:
            raise ValueError(f"size must be a multiple of 16 and at least 64, found {self.size}")
        if not 0 <= self.margin <= _WIDEST_MARGIN:
            raise ValueError(f"margin must be 0 to {_WIDEST_MARGIN}, found {self.margin}")
        if self.least_margin is not None and not 0 <= self.least_margin <= self.margin:
            raise ValueError(f"least_margin must lie between 0 and margin, found {self.least_margin}")
        if self.backbone not in ("lite0", "lite1", "lite2"):
            raise ValueError(f"backbone must be lite0, lite1 or lite2, found {self.backbone!r}")
        if self.stages not in (4, 5, 7):
            raise ValueError(f"stages must be 4, 5 (levels down to stride 16) or 7 (stride 32), found {self.stages}")
        if self.residual not in (0, 1):
            raise ValueError(f"residual must be 0 or 1, found {self.residual}")
        if self.stages == 7 and self.size % 32:
            raise ValueError(f"with 7 stages size must be a multiple of 32, found {self.size}")
        if self.pooling != "log_mean_exp" or not 0 < self.sharpness <= _SHARPEST:
            raise ValueError(
                f"pooling must be log_mean_exp with a sharpness up to {_SHARPEST}, found {self.pooling!r}, {self.sharpness}"
            )


@dataclass(frozen=True)
class Look:
    """One way to look at a face; the maps of all looks are averaged.

    Attributes:
        margin: Extra around the face on each side, as a fraction of the longer side of its box; a negative one leaves out
            the face's rim.
        least_margin: As in `Architecture`.
        mirrored: Whether it sees the face mirrored.
        weight: Its share of the average, above 0.
    """

    margin: float
    least_margin: float | None = None
    mirrored: bool = False
    weight: float = 1.0

    def __post_init__(self) -> None:
        least = self.margin if self.least_margin is None else self.least_margin
        if not _CLOSEST_MARGIN <= least <= self.margin <= _WIDEST_MARGIN:
            raise ValueError(
                f"expected {_CLOSEST_MARGIN} <= least_margin <= margin <= {_WIDEST_MARGIN},"
                f" found {self.least_margin} and {self.margin}"
            )
        if self.weight <= 0:
            raise ValueError(f"weight must be above 0, found {self.weight}")


@dataclass(frozen=True)
class Softness:
    """How much warmer genuine faces look to a net the softer they are: less detail leaves less to tell them by.

    Attributes:
        below: Sharpness, see `faces.sharpness`, from which down a face is soft.
        down_to: The softest that was measured, above 0: what is softer still is taken to be as warm as this.
        slope: Logits by which the evidence grows where the sharpness shrinks by a factor of e, 0 or more.
    """

    below: float
    down_to: float
    slope: float

    def __post_init__(self) -> None:
        if not 0 < self.down_to <= self.below:
            raise ValueError(f"expected 0 < down_to <= below, found {self.down_to} and {self.below}")
        if self.slope < 0:
            raise ValueError(f"slope must be 0 or more, found {self.slope}")

    def warmth(self, sharpness: float) -> float:
        """Logits that a genuine face of this sharpness looks warmer than a sharp one."""
        return self.slope * math.log(self.below / min(max(sharpness, self.down_to), self.below))


@dataclass(frozen=True)
class Bands:
    """How pooled logits of one kind of media become a probability and a label.

    P = 1 / (1 + exp(-w * (slope * logit + offset))), with w = 1 - quality_loss * (1 - quality), fitted so that both classes
    weigh the same: a poor picture of a face moves the odds less than a good one with the same logit.

    Attributes:
        slope: Above 0.
        offset: On the logit scale.
        lower: A probability up to this is `no_manipulation_found`. Both limits are compared with the probability before
            its ratio is limited by `largest_ratio`, so that stated ones lie somewhat nearer to one half.
        upper: A probability from this on is `manipulated`.
        genuine: How many genuine files it was fitted on.
        manipulated: How many manipulated files it was fitted on.
        false_alarm_rate: Share of these genuine files that are called manipulated, by what is said of all their people.
        miss_rate: Share of these manipulated files of which it is said that no manipulation was found, likewise.
        largest_ratio: No likelihood ratio is stated from this up, nor from its inverse down: so few held-out media
            can't support more.
        quality_loss: How much of the evidence a picture of quality 0 loses, 0 to 1.
        logit_sd: How much a logit moves, root mean square, when the same media are handled harmlessly: a picture saved
            again, cropped a little, mirrored or shown in a screenshot, a video coded again; as far as that was tried.
        slope_sd: Standard error of `slope`, from a bootstrap over groups.
        offset_sd: Of `offset`, likewise.
        correlation: Of the two.
        genuine_groups: In how many groups (people, clips) the genuine files lie; 0 where it is not known.
        manipulated_groups: Of the manipulated ones, likewise.
        genuine_effective: So many groups of equal size would tell as much of a share of the genuine files; 0 where it is
            not known.
        manipulated_effective: Of the manipulated ones, likewise.
    """

    slope: float
    offset: float
    lower: float
    upper: float
    genuine: int
    manipulated: int
    false_alarm_rate: float
    miss_rate: float
    largest_ratio: float
    quality_loss: float = 0.0
    logit_sd: float = 0.0
    slope_sd: float = 0.0
    offset_sd: float = 0.0
    correlation: float = 0.0
    genuine_groups: int = 0
    manipulated_groups: int = 0
    genuine_effective: float = 0.0
    manipulated_effective: float = 0.0

    def __post_init__(self) -> None:
        if self.slope <= 0:
            raise ValueError(f"slope must be above 0, found {self.slope}")
        if not 0 <= self.quality_loss <= 1:
            raise ValueError(f"quality_loss must be 0 to 1, found {self.quality_loss}")
        if self.largest_ratio <= 1:
            raise ValueError(f"largest_ratio must be above 1, found {self.largest_ratio}")
        if not 0 <= self.lower < self.upper <= 1:
            raise ValueError(f"bands must be ordered within 0 to 1, found {self.lower} and {self.upper}")

    @property
    def even(self) -> float:
        """The logit at which the odds are even."""
        return -self.offset / self.slope


@dataclass(frozen=True)
class OtherGroups:
    """How often bands are wrong on people and clips that they were not fitted on: those of `Bands`, each left out once.

    Attributes:
        false_alarm_rate: Share of the genuine files that were called manipulated.
        miss_rate: Share of the manipulated files of which it was said that no manipulation was found.
        inconclusive: Share of all files that were called so.
    """

    false_alarm_rate: float
    miss_rate: float
    inconclusive: float

    def __post_init__(self) -> None:
        if not all(0 <= rate <= 1 for rate in (self.false_alarm_rate, self.miss_rate, self.inconclusive)):
            raise ValueError(f"rates must be 0 to 1, found {self}")


@dataclass(frozen=True)
class Calibration:
    """What was learned on held-out media about what a logit means.

    Attributes:
        name: Such as `first-2026-11`.
        date: ISO, of the fit.
        data: What it was fitted on, in words.
        image: For pictures.
        video: For videos.
        other_groups: By kind of media, what is known of other people and clips; a kind is missing where nothing is.
    """

    name: str
    date: str
    data: str
    image: Bands
    video: Bands
    other_groups: dict[Kind, OtherGroups] = field(default_factory=dict)

    def bands(self, kind: Kind) -> Bands:
        """Those of one kind of media."""
        return self.image if kind == "image" else self.video


@dataclass(frozen=True)
class ToolInfo:
    """What did the judging.

    Attributes:
        version: Of this package.
        model: Name of the weights.
        model_sha256: Of their file.
        calibration: Its name.
        entry_sha256: Of all that the manifest says of how these weights are used, see `ManifestEntry.entry_sha256`.
    """

    version: str
    model: str
    model_sha256: str
    calibration: str
    entry_sha256: str


@dataclass(frozen=True)
class Failure:
    """Why a file could not be judged: a stable word for programs and one line for people."""

    kind: str
    message: str


@dataclass(frozen=True)
class PerceptualHash:
    """A PDQ hash: near ones belong to the same picture.

    Attributes:
        bits: 64 hexadecimal digits, as lists of such hashes write them.
        quality: 0 to 100; below 50 the picture has too little in it for the hash to tell it from others.
    """

    bits: str
    quality: int

    def __post_init__(self) -> None:
        if len(self.bits) != 64 or set(self.bits) - set("0123456789abcdef"):
            raise ValueError(f"bits must be 64 digits of 0-9 and a-f, found {self.bits!r}")
        if not 0 <= self.quality <= 100:
            raise ValueError(f"quality must be 0 to 100, found {self.quality}")

    @property
    def can_match(self) -> bool:
        """Whether to look for the same picture by it: its authors advise against that below a quality of 50."""
        return self.quality >= 50

    def distance(self, other: PerceptualHash) -> int:
        """How many of 256 bits differ. Its authors take up to 31 for a match; of unrelated pictures about 128 do."""
        return (int(self.bits, 16) ^ int(other.bits, 16)).bit_count()


@dataclass(frozen=True)
class HashedMoment:
    """A moment of a video, or a picture at 0 seconds, and its hash."""

    time_s: float
    hash: PerceptualHash


@dataclass(frozen=True)
class Note:
    """Something in a file or its metadata that is worth noticing. It is no proof of anything.

    Attributes:
        key: What it is; the text a reader sees is found by it.
        values: What fills that text, plain.
    """

    key: NoteKey
    values: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.key not in get_args(NoteKey):
            raise ValueError(f"key must be one of {get_args(NoteKey)}, found {self.key!r}")
        if not all(isinstance(value, str) for value in self.values.values()):
            raise TypeError(f"values must be text, found {self.values}")


@dataclass(frozen=True)
class ContentCredentials:
    """What a file's C2PA manifest says, and whether that holds.

    Attributes:
        state: `absent` (which is no evidence either way), `valid`, `invalid` (the file or the manifest was changed since
            it was signed, or is malformed), `untrusted` (it holds, but its signer is on no list of trusted ones that was
            given, so who signed is not known), or `not_read`. Whether a certificate was revoked is never asked.
        reason: Why it was not read: `library_missing`, `not_supported` (no manifest can be in such a file), `unreadable`,
            or `elsewhere` (it is on the web, and nothing is fetched). Empty otherwise.
        signer: Common name in the signing certificate.
        issuer: Organisation in the signing certificate.
        time: When it was signed, ISO 8601, where a time stamping authority that is trusted, as signers are, vouches for it;
            else empty, for it would be what the signer's own clock was set to.
        generator: The program that made the manifest.
        actions: Such as `c2pa.created`, in the manifest's order.
        digital_source_types: Such as `trainedAlgorithmicMedia`, of the file and of what it was made from, sorted.
        failures: Codes of the C2PA specification for what did not hold, sorted.
    """

    state: CredentialState
    reason: str = ""
    signer: str = ""
    issuer: str = ""
    time: str = ""
    generator: str = ""
    actions: tuple[str, ...] = ()
    digital_source_types: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.state not in get_args(CredentialState):
            raise ValueError(f"state must be one of {get_args(CredentialState)}, found {self.state!r}")
        if (self.state == "not_read") != bool(self.reason):
            raise ValueError(f"what was not read has a reason and nothing else has, found {self.state} {self.reason!r}")


@dataclass(frozen=True)
class Provenance:
    """Where a file says it comes from. It informs the reader and never moves a probability.

    Attributes:
        md5: Of the file's bytes, as older lists of known files have it; not safe against forgery.
        perceptual_hashes: In order of time: of a picture, or of the first frame of each second of a video; a note
            `hashes_cut` says where not every second has one.
        metadata: (group, name, value), plain text, sorted; private values are withheld.
        notes: What is worth noticing, sorted.
        content_credentials: The C2PA manifest.
    """

    md5: str
    perceptual_hashes: tuple[HashedMoment, ...] = ()
    metadata: tuple[tuple[str, str, str], ...] = ()
    notes: tuple[Note, ...] = ()
    content_credentials: ContentCredentials = field(
        default_factory=lambda: ContentCredentials("not_read", reason="library_missing")
    )

    def __post_init__(self) -> None:
        if len(self.md5) != 32 or set(self.md5) - set("0123456789abcdef"):
            raise ValueError(f"md5 must be 32 digits of 0-9 and a-f, found {self.md5!r}")
        times = [moment.time_s for moment in self.perceptual_hashes]
        if times != sorted(times):
            raise ValueError(f"perceptual hashes must be in order of time, found {times}")


@dataclass(frozen=True)
class Effort:
    """How much of a video there was to look at, and why no more of it was.

    Attributes:
        available: So many frames it has, in the time asked for.
        looks: How many of these were chosen, look by look; all but the last left the label open. What is damaged does not
            come, so that fewer may have been looked at.
        settled: Whether others would hardly lead to another label, see `verdict.is_open`.
    """

    available: int
    looks: tuple[int, ...]
    settled: bool

    def __post_init__(self) -> None:
        if not self.looks or list(self.looks) != sorted(self.looks) or self.looks[-1] > self.available:
            raise ValueError(f"expected looks at more and more of {self.available} frames, found {self.looks}")


@dataclass(frozen=True)
class Report:
    """Everything known about one file. Exactly one of `verdict` and `error` is set.

    Attributes:
        path: As the user gave it.
        tool: What did the judging.
        media: None when the file could not be opened.
        sampled_times_s: The frames that were looked at.
        verdict: None when the file could not be judged.
        tracks: The people, in order of appearance.
        warnings: What the reader must know, such as that the file is cut short; in English.
        notes: What of that is about the file: for other languages.
        timing_s: Seconds by stage; but for `created_utc` the only part in which two runs differ. Frames are decoded,
            searched and judged side by side, so the stages add up to more than `total`; `decode` is the search's wait for
            the decoder.
        error: Why the file could not be judged.
        options: Settings of the run.
        calibration: What was learned about this net's errors; None when the file could not be judged.
        provenance: Fingerprints and metadata of the file, where they were asked for.
        created_utc: When it was examined, ISO 8601.
        effort: Of a video, why no more frames of it were looked at.
        pixels: A copy of the picture, where it was given as an array: there is no file to read it from again.
    """

    path: str
    tool: ToolInfo
    media: MediaInfo | None = None
    sampled_times_s: tuple[float, ...] = ()
    verdict: Verdict | None = None
    tracks: tuple[FaceTrack, ...] = ()
    warnings: tuple[str, ...] = ()
    notes: tuple[Note, ...] = ()
    timing_s: dict[str, float] = field(default_factory=dict, compare=False)
    error: Failure | None = None
    options: Options = field(default_factory=Options)
    calibration: Calibration | None = field(default=None, repr=False)
    provenance: Provenance | None = None
    created_utc: str = field(default="", compare=False)
    effort: Effort | None = None
    pixels: np.ndarray | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        if (self.verdict is None) == (self.error is None):
            raise ValueError("a report has either a verdict or an error")

    def save(
        self,
        folder: str | PathLike[str],
        *,
        options: ReportOptions | None = None,
        key: Ed25519PrivateKey | None = None,
        name: str | None = None,
        called: str | None = None,
        progress: Callable[[float], None] | None = None,
    ) -> None:
        """Write the folder that someone else can check: page, JSON, annotated copy, evidence, fingerprints.

        Args:
            folder: Made when missing. An earlier report on the same media is replaced, unless it is signed.
            options: What it holds, and in which language.
            key: Signs it; `dossier.read_key` reads one.
            name: What the report calls the media, where that is not what the file is called.
            called: What the folder will be called where it is checked, where that is not what it is called here.
            progress: Called with the share that is done, 0 to 1.

        Raises:
            MediaError: The media changed or disappeared since it was judged.
            OptionsError: There is no such person, what a PDF needs is missing, other files stand where it would write, or
                the folder holds a finished report that is signed or on other media.
            OSError: The folder can't be written.
        """
        from .dossier import save

        save(self, folder, options, key=key, name=name, called=called, progress=progress)

    def to_dict(self) -> dict[str, Any]:
        """What `--json` prints: the contract `deepfake-detect/1`, whose fields `report.schema.json` describes."""
        from .report import to_dict

        return to_dict(self)

    def _repr_html_(self) -> str:
        from .page import in_notebook

        return in_notebook(self)

    def timeline(self) -> Figure:
        """The evidence of each person over time, as a matplotlib figure."""
        from .plots import timeline

        return timeline(self)

    def faces(self, count: int = 6) -> Figure:
        """Of each person the most telling views above their maps, as a matplotlib figure."""
        from .plots import faces

        return faces(self, count=count)

    def to_frame(self) -> DataFrame:
        """A row for each view of a face, as a pandas table; `pip install pandas` first."""
        from .plots import table

        return table(self)
