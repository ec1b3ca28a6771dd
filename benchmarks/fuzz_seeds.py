"""Small files of every kind that the tool reads, made here: what the fuzzer starts from. Whatever this machine's libraries
can't write is left out."""

from __future__ import annotations

import io
from contextlib import suppress
from pathlib import Path

import av
import numpy as np
import pillow_heif
from PIL import Image, PngImagePlugin

SAMPLES = Path(__file__).parent.parent / "samples"
_XMP = (b"<x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:RDF xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#'>"
        b"<rdf:Description xmlns:xmp='http://ns.adobe.com/xap/1.0/' xmlns:dcterms='http://purl.org/dc/terms/'"
        b" xmp:CreatorTool='A tool' dcterms:provenance='http://localhost/manifest'/></rdf:RDF></x:xmpmeta>")  # fmt: skip
# Codec and kind of pixels of each container.
_VIDEOS = {
    "h264.mp4": ("libx264", "yuv420p"), "hevc.mp4": ("libx265", "yuv420p"), "av1.mp4": ("libsvtav1", "yuv420p"),
    "mpeg4.mov": ("mpeg4", "yuv420p"), "prores.mov": ("prores_ks", "yuv422p10le"), "png.mov": ("png", "rgb24"),
    "ffv1.mkv": ("ffv1", "yuv420p"), "h264.mkv": ("libx264", "yuv420p"), "vp8.webm": ("libvpx", "yuv420p"),
    "vp9.webm": ("libvpx-vp9", "yuv420p"), "mjpeg.avi": ("mjpeg", "yuvj420p"), "mpeg4.avi": ("mpeg4", "yuv420p"),
    "raw.avi": ("rawvideo", "yuv420p"), "h264.ts": ("libx264", "yuv420p"), "mpeg2.mpg": ("mpeg2video", "yuv420p"),
    "mpeg1.mpg": ("mpeg1video", "yuv420p"), "flv1.flv": ("flv", "yuv420p"), "h264.flv": ("libx264", "yuv420p"),
    "wmv2.asf": ("wmv2", "yuv420p"), "vp8.ogg": ("libvpx", "yuv420p"), "h263.3gp": ("h263", "yuv420p"),
}  # fmt: skip


def face(side: int = 96) -> Image.Image:
    """The sample, small."""
    with Image.open(SAMPLES / "portrait_genuine.jpg") as image:
        return image.convert("RGB").resize((side, side), Image.Resampling.BOX)


def media(folder: Path) -> dict[str, bytes]:
    """Name -> bytes of pictures and videos."""
    pillow_heif.register_heif_opener()
    return pictures() | animations() | videos(folder)


def pictures() -> dict[str, bytes]:
    """One of each way to write a picture."""
    small = face()
    grey = np.asarray(small.convert("L"))
    exif = Image.Exif()
    exif[0x112], exif[0x10F], exif[0x132] = 6, "A maker", "2020:01:01 00:00:00"
    exif.get_ifd(0x8769)[0x9286] = b"ASCII\0\0\0A comment"
    text = PngImagePlugin.PngInfo()
    text.add_text("parameters", "Steps: 20, Sampler: Euler", zip=True)
    text.add_itxt("XML:com.adobe.xmp", _XMP.decode())
    told = {"exif": exif.tobytes()}
    ways: dict[str, tuple[Image.Image, str, dict[str, object]]] = {
        "plain.jpg": (small, "JPEG", told | {"xmp": _XMP, "comment": b"A comment"}),
        "progressive.jpg": (small, "JPEG", {"progressive": True}), "cmyk.jpg": (small.convert("CMYK"), "JPEG", {}),
        "several.mpo": (small, "MPO", {"save_all": True, "append_images": [small]}),
        "text.png": (small, "PNG", told | {"pnginfo": text}), "palette.png": (small.convert("P"), "PNG", {}),
        "deep.png": (Image.fromarray(grey.astype(np.uint16) * 200), "PNG", {}),
        "clear.png": (small.convert("RGBA"), "PNG", {}),
        "lossy.webp": (small, "WEBP", told | {"xmp": _XMP}), "lossless.webp": (small, "WEBP", {"lossless": True}),
        "plain.gif": (small.convert("P"), "GIF", {"comment": b"A comment"}), "plain.bmp": (small, "BMP", {}),
        "palette.bmp": (small.convert("P"), "BMP", {}), "plain.tiff": (small, "TIFF", {}),
        "lzw.tiff": (small, "TIFF", {"compression": "tiff_lzw"}), "jpeg.tiff": (small, "TIFF", {"compression": "jpeg"}),
        "float.tiff": (Image.fromarray(grey.astype(np.float32) / 255), "TIFF", {}),
        "deflate.tiff": (small, "TIFF", {"compression": "tiff_adobe_deflate", "save_all": True, "append_images": [small]}),
        "plain.heic": (small, "HEIF", told), "plain.avif": (small, "AVIF", told),
    }  # fmt: skip
    found = {}
    for name, (image, form, options) in ways.items():
        buffer = io.BytesIO()
        with suppress(OSError, KeyError, RuntimeError):
            image.save(buffer, form, **options)
            found[name] = buffer.getvalue()
    return found


def animations() -> dict[str, bytes]:
    """Pictures that move."""
    steps = [face(64).rotate(angle) for angle in (0, 30, 60)]
    found = {}
    for name, form in (("moving.gif", "GIF"), ("moving.webp", "WEBP"), ("moving.png", "PNG"), ("moving.avif", "AVIF")):
        buffer = io.BytesIO()
        with suppress(OSError, KeyError):
            steps[0].save(buffer, form, save_all=True, append_images=steps[1:], duration=40)
            found[name] = buffer.getvalue()
    return found


def videos(folder: Path) -> dict[str, bytes]:
    """One of each container and of most codecs; one with sound, one in fragments."""
    found = {}
    for name, (codec, pixels) in _VIDEOS.items():
        with suppress(av.FFmpegError, ValueError):
            found[name] = video(folder / name, codec, pixels)
    with suppress(av.FFmpegError, ValueError):
        found["sound.mp4"] = video(folder / "sound.mp4", "libx264", "yuv420p", sound="aac")
        found["sound.mkv"] = video(folder / "sound.mkv", "libx264", "yuv420p", sound="flac")
        options = {"movflags": "frag_keyframe+empty_moov"}
        found["fragments.mp4"] = video(folder / "fragments.mp4", "libx264", "yuv420p", container_options=options)
    return found


def video(
    path: Path, codec: str, pixels: str, *, size: tuple[int, int] = (176, 144), count: int = 6, sound: str = "",
    container_options: dict[str, str] | None = None,
) -> bytes:  # fmt: skip
    """A few frames."""
    # Of the codecs of old not all take any size.
    width, height = size
    steps = [np.asarray(face(160).rotate(5 * i).resize((width, height))) for i in range(count)]
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, pixels  # type: ignore[union-attr]
        noise = container.add_stream(sound, rate=44100) if sound else None
        for step in steps:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(step), format="rgb24")))  # type: ignore[union-attr]
        container.mux(stream.encode(None))  # type: ignore[union-attr]
        if noise is not None:
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 8192), np.int16), format="s16", layout="stereo")
            silence.sample_rate = 44100
            container.mux(noise.encode(silence))  # type: ignore[union-attr]
            container.mux(noise.encode(None))  # type: ignore[union-attr]
    return path.read_bytes()
