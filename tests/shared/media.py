"""Real media of every odd kind, drawn here: clips of one shade a frame, pictures of every mode."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image


SIDE = 32


def make_clip(
    path: Path,
    *,
    shades: list[int],
    ticks: list[int] | None = None,
    rate: int = 10,
    codec: str = "mpeg4",
    size: tuple[int, int] = (SIDE, SIDE),
    options: dict[str, str] | None = None,
) -> str:
    """Write frames of one shade each; `ticks` in units of 1 / `rate` seconds make the rate vary."""
    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = *size, "yuv420p", 5
        stream.codec_context.time_base = Fraction(1, rate)
        for number, shade in enumerate(shades):
            pixels = np.full((size[1], size[0], 3), shade, np.uint8)
            pixels[:, : size[0] // 2] //= 2  # the left half is darker: a turn shows
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = (ticks or range(len(shades)))[number], Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return str(path)


def shades_of(frames: list[Image.Image]) -> list[int]:
    """Return the shade of each frame, to the nearest 10."""
    return [int(round(np.asarray(frame)[-1, -1].mean() / 10) * 10) for frame in frames]


def turned(path: str, degrees: int) -> str:
    """Write the display matrix of a clockwise turn into the track header of an MP4, as phones do."""
    cos, sin = {90: (0, 1), 180: (-1, 0), 270: (0, -1)}[degrees]
    matrix = [cos << 16, sin << 16, 0, -sin << 16, cos << 16, 0, 0, 0, 1 << 30]
    raw = bytearray(Path(path).read_bytes())
    start = raw.index(b"tkhd") + 4 + 4 + 20 + 16  # version and flags, times and id, layers
    raw[start : start + 36] = b"".join((value & 0xFFFFFFFF).to_bytes(4, "big") for value in matrix)
    Path(path).write_bytes(raw)
    return path


def odd_pictures(folder: Path) -> dict[str, str]:
    """Draw one picture of each kind, 84 x 60: a ramp that is dark at the left."""
    ramp = Image.fromarray(np.tile(np.linspace(0, 255, 84).astype(np.uint8), (60, 1)))
    deep = np.tile(np.linspace(0, 65535, 84).astype(np.uint16), (60, 1))
    glass = Image.merge("RGBA", [*[ramp] * 3, ramp])
    exif = Image.Exif()
    exif[0x0112] = 6
    palette = ramp.convert("P")
    palette.info["transparency"] = 0
    pages = [ramp.convert("RGB"), ramp.transpose(Image.Transpose.ROTATE_180).convert("RGB")]
    kinds: dict[str, tuple[Image.Image, dict[str, Any]]] = {
        "plain.png": (ramp.convert("RGB"), {}),
        "gray.jpg": (ramp, {"quality": 95}),
        "exif.jpg": (ramp.convert("RGB"), {"exif": exif, "quality": 95}),
        "exif.png": (ramp.convert("RGB"), {"exif": exif}),
        "exif_cmyk.jpg": (ramp.convert("RGB").convert("CMYK"), {"exif": exif, "quality": 95}),
        "glass.png": (glass, {}),
        "glass.webp": (glass, {"lossless": True}),
        "gray_glass.png": (Image.merge("LA", [ramp, ramp]), {}),
        "palette.png": (palette, {"transparency": 0}),
        "bit.png": (ramp.convert("1"), {}),
        "deep.png": (Image.fromarray(deep), {}),
        "deep.tif": (Image.fromarray(deep), {}),
        "float.tif": (Image.fromarray((deep / 65535).astype(np.float32)), {}),
        "pages.tif": (pages[0], {"save_all": True, "append_images": pages[1:]}),
        "moves.gif": (pages[0], {"save_all": True, "append_images": pages[1:], "duration": 100}),
        "moves.webp": (pages[0], {"save_all": True, "append_images": pages[1:], "lossless": True}),
        "moves.png": (pages[0], {"save_all": True, "append_images": pages[1:]}),
    }
    for name, (image, options) in kinds.items():
        image.save(folder / name, **options)
    return {name: str(folder / name) for name in kinds}
