"""Media for the benchmarks, made when they run: the sample's face that drifts over a grainy background."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import av
import cv2
import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Iterator


SAMPLE = Path(__file__).parent.parent / "samples" / "portrait_genuine.jpg"
_CODED_S = 10
_FPS = 30


def photo(path: Path, *, width: int = 4000, height: int = 3000, faces: int = 1, quality: int = 90) -> Path:
    """A JPEG; 12 megapixels unless said otherwise."""
    Image.fromarray(next(_pictures(width, height, 1, faces))).save(path, quality=quality)
    return path


def video(path: Path, *, width: int, height: int, seconds: float, faces: int = 1) -> Path:
    """H.264 at 30 frames a second, with the encoder's own settings: ten seconds are coded, then repeated uncoded."""
    short = path.with_suffix(".part.mp4")
    coded_s = min(seconds, _CODED_S)
    with av.open(short, "w") as container:
        stream = container.add_stream("libx264", rate=_FPS, options={"preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for pixels in _pictures(width, height, round(coded_s * _FPS), faces):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    with av.open(path, "w") as out:
        target = None
        for repeat in range(round(seconds / coded_s)):
            with av.open(short) as source:
                coded = source.streams.video[0]
                target = target or out.add_stream_from_template(coded)
                for packet in source.demux(coded):
                    if packet.dts is None or packet.time_base is None:
                        continue
                    shift = round(repeat * coded_s / packet.time_base)
                    packet.pts, packet.dts, packet.stream = (packet.pts or 0) + shift, packet.dts + shift, target
                    out.mux(packet)
    short.unlink()
    return path


def _pictures(width: int, height: int, count: int, faces: int) -> Iterator[np.ndarray]:
    """RGB pictures. One face takes half of the height; several stand in rows and take their share."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (9, 16, 3), np.uint8)
    background = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    grain = rng.normal(0, 6, (height, width, 1))
    background = (background + grain).clip(0, 255).astype(np.uint8)
    columns = int(np.ceil(np.sqrt(faces * width / height)))
    rows = int(np.ceil(faces / columns))
    across, down = width // columns, height // rows
    side = round(min(across, down) * (0.75 if faces == 1 else 0.9))
    portrait = np.asarray(Image.open(SAMPLE).convert("RGB").resize((side, side)))
    for i in range(count):
        pixels = background.copy()
        for k in range(faces):
            x = k % columns * across + round((across - side) * (0.5 + 0.4 * np.sin(i / 40 + k)))
            y = k // columns * down + round((down - side) * (0.5 + 0.4 * np.cos(i / 50 + k)))
            pixels[y : y + side, x : x + side] = portrait
        yield pixels
