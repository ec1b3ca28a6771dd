"""What happens to pictures on their way to us, drawn once and done alike to both halves of a pair.

`degrade` takes the same seed for both halves. Nothing it draws depends on the pixels, so both go through the same steps
with the same strengths and the same noise. A net can then learn nothing from how a picture was treated.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

import av
import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.random import Generator


# How often a picture comes to us hardly worn. Where all of them are worn, what there is to learn is often gone, and a net
# learns slowly from pairs that nothing tells apart.
_FRESH = 0.35
_DARK = 0.1


def degrade(pixels: np.ndarray, face_px: float, seed: int) -> np.ndarray:
    """Colour, processing, scale, noise and compression, as cameras, apps and messengers add them.

    Args:
        pixels: uint8 (H, W, 3) RGB.
        face_px: Longer side of the face in it, for the draw of a new scale.
        seed: The same for both halves of a pair. Pictures of one size get the very same treatment.

    Returns:
        uint8 (h, w, 3) RGB; the scale may have changed.
    """
    rng = np.random.default_rng(seed)
    if rng.random() < 0.5:
        pixels = _light(pixels, rng)
    if rng.random() < _FRESH:
        draw = rng.random()
        if draw < 0.35:
            return film(pixels, crf=int(rng.integers(12, 25)), frames=int(rng.integers(1, 5)), rng=rng)
        return _still(pixels, rng, least=75) if draw < 0.8 else pixels
    # Genuine pictures are retouched and enhanced too: processed over all of the picture is not manipulated.
    if rng.random() < 0.2:
        pixels = _process(pixels, rng)
    if rng.random() < 0.6:
        pixels = _rescale(pixels, face_px, rng)
    if rng.random() < 0.25:
        pixels = _blur(pixels, rng)
    if rng.random() < 0.25:
        pixels = _noise(pixels, rng)
    # Much has been encoded before: a clip of a film is a film of a film.
    draw = rng.random()
    if draw < 0.15:
        pixels = _still(pixels, rng)
    elif draw < 0.3:
        pixels = film(pixels, crf=int(rng.integers(16, 29)), frames=int(rng.integers(1, 4)), rng=rng)
    draw = rng.random()
    if draw < 0.42:
        pixels = film(pixels, crf=int(rng.integers(16, 39)), frames=int(rng.integers(1, 5)), rng=rng)
    elif draw < 0.92:
        pixels = _still(pixels, rng)
    return pixels


def _light(pixels: np.ndarray, rng: Generator) -> np.ndarray:
    levels = np.arange(256, dtype=np.float32) / 255
    # Some of what is filmed at home is dark.
    brightest, darkest = (0.0, 0.9) if rng.random() < _DARK else (-0.35, 0.35)
    levels = levels ** np.float32(np.exp(rng.uniform(brightest, darkest)))
    levels = (levels - 0.5) * np.float32(rng.uniform(0.8, 1.2)) + 0.5 + np.float32(rng.uniform(-0.1, 0.1))
    tables = (levels[:, None] + rng.uniform(-0.04, 0.04, 3)).clip(0, 1) * 255 + 0.5
    result = cv2.LUT(pixels, tables.astype(np.uint8).reshape(1, 256, 3))
    saturation = float(rng.uniform(0.6, 1.4)) if rng.random() < 0.9 else 0.0
    grey = cv2.cvtColor(cv2.cvtColor(result, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return cv2.addWeighted(result, saturation, grey, 1 - saturation, 0)


def sharpened(pixels: np.ndarray, *, amount: float, radius: float) -> np.ndarray:
    """Unsharp masking."""
    return cv2.addWeighted(pixels, 1 + amount, cv2.GaussianBlur(pixels, (0, 0), radius), -amount, 0)


def compressed_off_grid(pixels: np.ndarray, *, down: int, right: int, quality: int, ending: str = ".jpg") -> np.ndarray:
    """JPEG or WebP on a grid that is not the picture's own: `down` and `right`, 0 to 7 pixels, are where it begins."""
    padded = cv2.copyMakeBorder(pixels, down, 0, right, 0, cv2.BORDER_REPLICATE)
    flag = {".jpg": cv2.IMWRITE_JPEG_QUALITY, ".webp": cv2.IMWRITE_WEBP_QUALITY}[ending]
    return np.ascontiguousarray(_coded(padded, ending, [flag, quality])[down:, right:])


def _coded(pixels: np.ndarray, ending: str, options: list[int]) -> np.ndarray:
    """Through a codec of OpenCV, which takes and gives BGR: red and blue do not weigh the same in luma."""
    encoded = cv2.imencode(ending, pixels[..., ::-1], options)[1]
    return np.ascontiguousarray(np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR))[..., ::-1])


def _process(pixels: np.ndarray, rng: Generator) -> np.ndarray:
    draw = rng.random()
    if draw < 0.3:
        return cv2.bilateralFilter(pixels, 5, float(rng.uniform(10, 40)), float(rng.uniform(2, 5)))
    if draw < 0.6:
        return sharpened(pixels, radius=float(rng.uniform(0.7, 2)), amount=float(rng.uniform(0.3, 1.2)))
    if draw < 0.75:
        return cv2.medianBlur(pixels, 3)
    height, width = pixels.shape[:2]
    scale = float(rng.uniform(0.35, 0.8))
    small = cv2.resize(pixels, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA)
    how = int(rng.choice((cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4)))
    return cv2.resize(small, (width, height), interpolation=how)


def _rescale(pixels: np.ndarray, face_px: float, rng: Generator) -> np.ndarray:
    wanted = float(np.exp(rng.uniform(np.log(70), np.log(260))))
    scale = min(wanted / face_px, 1.3)
    height, width = pixels.shape[:2]
    size = (max(16, round(width * scale)), max(16, round(height * scale)))
    shrinking = int(rng.choice((cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_CUBIC)))
    growing = int(rng.choice((cv2.INTER_LINEAR, cv2.INTER_CUBIC)))
    return cv2.resize(pixels, size, interpolation=shrinking if scale < 1 else growing)


def _blur(pixels: np.ndarray, rng: Generator) -> np.ndarray:
    if rng.random() < 0.5:
        return cv2.GaussianBlur(pixels, (0, 0), float(rng.uniform(0.4, 1.6)))
    length = int(rng.choice((3, 5, 7)))
    line = np.zeros((length, length), np.float32)
    line[length // 2] = 1
    turn = cv2.getRotationMatrix2D((length // 2, length // 2), float(rng.uniform(0, 180)), 1)
    kernel = cv2.warpAffine(line, turn, (length, length))
    return cv2.filter2D(pixels, -1, kernel / kernel.sum())


def _noise(pixels: np.ndarray, rng: Generator) -> np.ndarray:
    noise = rng.standard_normal(pixels.shape, dtype=np.float32) * np.float32(rng.uniform(1, 7))
    if rng.random() < 0.4:
        noise = cv2.GaussianBlur(noise, (0, 0), 0.7) * 1.5
    return np.asarray(pixels + noise).clip(0, 255).astype(np.uint8)


def _still(pixels: np.ndarray, rng: Generator, *, least: int = 40) -> np.ndarray:
    """JPEG or WebP, of that quality or better."""
    if rng.random() < 0.82:
        sampling = (cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444)[int(rng.random() < 0.3)]
        options = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(least, 99)), cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling]
        return _coded(pixels, ".jpg", options)
    return _coded(pixels, ".webp", [cv2.IMWRITE_WEBP_QUALITY, int(rng.integers(least - 5, 95))])


def film(pixels: np.ndarray, *, crf: int, frames: int, rng: Generator) -> np.ndarray:
    """The picture as the last frame of a short H.264 video in which it drifts.

    Args:
        crf: Of x264, 0 (lossless) to 51.
        frames: How many frames are coded; from the second on they are predicted, as nearly all frames of a video are.

    Returns:
        uint8 (H', W', 3), H' and W' even and at most one pixel smaller.
    """
    height, width = pixels.shape[0] // 2 * 2, pixels.shape[1] // 2 * 2
    # Macroblocks begin elsewhere in every crop of a real video; the drift also moves the picture against their grid.
    drift = np.cumsum(rng.integers(-2, 3, (frames, 2)), axis=0)
    drift -= drift[-1]
    encoder = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
    encoder.time_base, encoder.framerate = Fraction(1, 25), Fraction(25)
    encoder.thread_count = 1
    # No look-ahead: there is nothing ahead to save bits for, and it reads memory beyond frames whose sides are no multiples
    # of 64, so that one seed gave two pictures.
    encoder.options = {"crf": str(crf), "preset": str(rng.choice(("superfast", "veryfast", "faster"))), "bf": "0",
                       "x264-params": "log-level=none:rc-lookahead=0:scenecut=0:mbtree=0"}  # fmt: skip
    decoder = av.CodecContext.create("h264", "r")
    decoder.thread_count = 1
    packets = []
    for i in range(frames):
        moved = pixels[:height, :width]
        if drift[i].any():
            shift = np.array([[1, 0, drift[i][0]], [0, 1, drift[i][1]]], np.float32)
            moved = cv2.warpAffine(
                moved, shift, (width, height), flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE
            )
        packets += encoder.encode(av.VideoFrame.from_ndarray(_planes(moved), format="yuv420p"))
    packets += encoder.encode(None)
    decoded = [frame for packet in packets for frame in decoder.decode(packet)]
    decoded += decoder.decode(None)
    return cv2.cvtColor(decoded[-1].to_ndarray(format="yuv420p"), cv2.COLOR_YUV2RGB_I420)


def _planes(pixels: np.ndarray) -> np.ndarray:
    """Y, U and V of a picture with even sides, (1.5 H, W) as yuv420p lies in memory; colours are means of four pixels, as
    cameras have it.

    By OpenCV, which takes less time than FFmpeg's own conversion, but alone would take the colour of one pixel of the four.
    """
    planes: np.ndarray = cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2YUV_I420)
    height, width = pixels.shape[:2]
    small = cv2.resize(pixels, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    doubled = cv2.resize(small, (width, height), interpolation=cv2.INTER_NEAREST)
    planes[height:] = cv2.cvtColor(doubled, cv2.COLOR_RGB2YUV_I420)[height:]
    return planes
