"""Real video files for tests: every frame is another picture, and its time is chosen."""

import struct
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image


TENTHS = tuple(Fraction(tenth, 10) for tenth in range(100))  # ten seconds at ten frames a second
H264 = {"g": "250", "bf": "2", "crf": "18"}  # one key frame, and frames that need later ones
MATRIX = {90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}  # of mp4, by degrees a player turns clockwise


def frame_picture(number: int, size: tuple[int, int] = (64, 48)) -> np.ndarray:
    """Return (H, W, 3): red and green tell which frame it is, and the top left corner is blue."""
    width, height = size
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:, :, 0] = number * 37 % 256
    pixels[:, : number * 3 % width, 1] = 200
    pixels[: height // 3, : width // 3, 2] = 255
    return pixels


def write_video(
    path: Path,
    seconds: Iterable[Fraction] = TENTHS,
    *,
    codec: str = "libx264",
    rate: int = 10,
    size: tuple[int, int] = (64, 48),
    options: dict[str, str] | None = None,
) -> Path:
    """Write a file whose frames are shown at the given seconds."""
    clock = Fraction(1, 1000)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, options=options or (H264 if codec == "libx264" else {}))
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = clock
        for number, second in enumerate(seconds):
            frame = av.VideoFrame.from_ndarray(frame_picture(number, size), format="rgb24")
            frame.pts, frame.time_base = round(second / clock), clock
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def turn(path: Path, degrees: int) -> Path:
    """Set the flag of an mp4 by which players turn it clockwise, in its track header."""
    content = bytearray(path.read_bytes())
    place = content.index(b"tkhd") + 44
    a, b, c, d = (value << 16 for value in MATRIX[degrees])
    content[place : place + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(bytes(content))
    return path


def write_sound(path: Path) -> Path:
    """Write a file with sound alone."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def all_frames(path: Path) -> list[tuple[float, Image.Image]]:
    """Return (second, picture) of every frame, by decoding the whole file as PyAV does."""
    with av.open(str(path)) as container:
        found: list[tuple[Any, Image.Image]] = [
            (frame.time, frame.to_image()) for frame in container.decode(container.streams.video[0])
        ]
    first = found[0][0] or 0.0
    return [((time or 0.0) - first, image) for time, image in found]
