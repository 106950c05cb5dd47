"""Small files that unpack to very large ones: each is a named row or a named file, and memory stays bounded."""

import gzip
import json
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any


MOST_MB = 2500  # [ours] beyond what the process held before it read the rows
LIMIT = 300  # seconds
READ = """
import json, resource, sys
sys.path[:0] = sys.argv[3:]
from malformed_rows import is_named
from bombs import reader
read = reader(sys.argv[1], sys.argv[2])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    ended = "accepted: %s good, %s listed" % read()
except Exception as error:
    ended = ("refused: " if is_named(error) else f"NOT NAMED {type(error).__name__}: ") + " ".join(str(error).split())
print(json.dumps([ended, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024]))
"""


def png(path: Path, width: int, height: int) -> None:
    """Write a black picture of one bit a pixel, row by row."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    packer, row = zlib.compressobj(9), bytes(1 + (width + 7) // 8)
    packed = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", packed) + chunk(b"IEND", b""))


def png_text(path: Path) -> None:
    """Write a small picture with a comment that unpacks to two gigabytes."""
    from PIL import Image

    Image.new("RGB", (56, 56)).save(path)
    content, packer = path.read_bytes(), zlib.compressobj(9)
    packed = b"".join(packer.compress(bytes(1 << 20)) for _ in range(2048)) + packer.flush()
    text = b"zTXt" + b"Comment\0\0" + packed
    chunk = struct.pack(">I", len(text) - 4) + text + struct.pack(">I", zlib.crc32(text))
    path.write_bytes(content[:33] + chunk + content[33:])


def gif(path: Path, side: int, frames: int) -> None:
    """Write an animation of black frames; each is a few bytes of repeated codes."""
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None
    small = Image.new("P", (side, side))
    small.save(path)
    content = path.read_bytes()
    start = content.index(b"\x2c", 13 + 3 * 2)
    frame = content[start:-1]
    control = b"\x21\xf9\x04\x00\x0a\x00\x00\x00"
    path.write_bytes(content[:start] + (control + frame) * frames + b"\x3b")


def video(path: Path, side: int, frames: int) -> None:
    """Write a video of large black frames."""
    import av
    import numpy as np

    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4" if side <= 8192 else "ffv1", rate=2)
        stream.width = stream.height = side
        stream.pix_fmt = "yuv420p"
        frame = av.VideoFrame.from_ndarray(np.zeros((side * 3 // 2, side), np.uint8), format="yuv420p")
        for number in range(frames):
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def claim(path: Path, width: int, height: int) -> None:
    """Write a small video whose headers claim other frames."""
    video(path, 64, 4)
    content = bytearray(path.read_bytes())
    for name, offset in ((b"tkhd", 80), (b"mp4v", 28)):
        at = content.index(name)
        if name == b"tkhd":
            struct.pack_into(">II", content, at + offset, width << 16 & 0xFFFFFFFF, height << 16 & 0xFFFFFFFF)
        else:
            struct.pack_into(">HH", content, at + offset, min(width, 65535), min(height, 65535))
    path.write_bytes(bytes(content))


def gzip_line(path: Path, megabytes: int) -> None:
    """Write one line of JSON with a very long text."""
    with gzip.open(path, "wb", compresslevel=9) as file:
        file.write(b'{"id": "a", "prompt": "')
        for _ in range(megabytes):
            file.write(b"x" * (1 << 20))
        file.write(b'", "answer": "1"}\n')


def gzip_blank(path: Path, megabytes: int) -> None:
    """Write one row and then blanks."""
    with gzip.open(path, "wb", compresslevel=9) as file:
        file.write(b'{"id": "a", "prompt": "what", "answer": "1"}\n')
        for _ in range(megabytes):
            file.write(b" " * (1 << 20))


def parquet_text(path: Path, megabytes: int) -> None:
    """Write a table of one text."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({"id": ["a"], "prompt": ["x" * (megabytes << 20)], "answer": ["1"]})
    pq.write_table(table, path, compression="zstd")


def reader(folder: str, world: str) -> Callable[[], tuple[int, int]]:
    """Return what reads the rows of a folder as `stage: grpo` does, and collates the good ones."""
    import logging

    from malformed_rows import Reader

    from shared.row_mutations import Kind

    logging.disable(logging.WARNING)
    work = Path(folder)
    name = next(path.name for path in work.glob("rows.*"))
    grpo = {"stage": "grpo", "reward_funcs": ["accuracy"], "cutoff_len": 16384}
    made = Reader(Kind("bomb", {"file_name": name, "formatting": "rollout"}, grpo, ()), work, Path(world))
    return made.read_whole


def cases(folder: Path) -> Iterator[tuple[str, Callable[[Path], None], str, Mapping[str, Any]]]:
    """Yield (name, what writes the file, its name, the row that shows it)."""
    row = {"id": "a", "prompt": "What?", "answer": "1"}
    images, videos = (lambda name: {**row, "images": [name]}), (lambda name: {**row, "videos": [name]})
    yield "PNG, 60,000 x 60,000", lambda path: png(path, 60_000, 60_000), "a.png", images("a.png")
    yield "PNG, 13,000 x 13,000", lambda path: png(path, 13_000, 13_000), "a.png", images("a.png")
    yield "PNG, a comment of 2 GB", png_text, "a.png", images("a.png")
    yield (
        "GIF, 1,000 frames of 8,000 x 8,000, as a picture",
        lambda path: gif(path, 8000, 1000),
        "a.gif",
        images("a.gif"),
    )
    yield "GIF, 40 frames of 6,000 x 6,000, as a video", lambda path: gif(path, 6000, 40), "a.gif", videos("a.gif")
    yield "video, 40 frames of 6,000 x 6,000", lambda path: video(path, 6000, 40), "a.mkv", videos("a.mkv")
    yield "video, 2 frames of 14,000 x 14,000", lambda path: video(path, 14_000, 2), "a.mkv", videos("a.mkv")
    yield "video, headers of 60,000 x 60,000", lambda path: claim(path, 60_000, 60_000), "a.mp4", videos("a.mp4")
    yield "gzip, one line of 4 GB", lambda path: gzip_line(path, 4096), "rows.jsonl.gz", {}
    yield "gzip, one row and 4 GB of blanks", lambda path: gzip_blank(path, 4096), "rows.jsonl.gz", {}
    yield "Parquet, one text of 1 GB", lambda path: parquet_text(path, 1024), "rows.parquet", {}


def bombs(work: Path) -> bool:
    """Read every bomb in a process of its own; report and return whether each was named or harmless."""
    from conftest import build_small_world

    from shared.store import kept

    world = kept("world", build_small_world)
    good = True
    for number, (name, write, file, row) in enumerate(cases(work)):
        folder = work / f"b{number}"
        folder.mkdir()
        write(folder / file)
        if row:
            kind = "images" if "images" in row else "videos"
            shown = {**row, kind: [str(folder / file)]}
            plain = {"id": "b", "prompt": "And this?", "answer": "1"}
            (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, (shown, plain))))
        size = (folder / file).stat().st_size / 1024
        words = [sys.executable, "-c", READ, str(folder), str(world), *sys.path[:2], str(Path(__file__).parent)]
        try:
            run = subprocess.run(words, capture_output=True, text=True, timeout=LIMIT, check=False)
            ended, grown = json.loads(run.stdout.splitlines()[-1])
        except (subprocess.TimeoutExpired, ValueError, IndexError) as error:
            status = (
                "hangs"
                if isinstance(error, subprocess.TimeoutExpired)
                else f"status {run.returncode}: {run.stderr[-300:]}"
            )
            ended, grown = f"NOT NAMED {status}", 0
        fine = not ended.startswith("NOT NAMED") and grown < MOST_MB
        good = good and fine
        print(
            f"{name} ({size:,.0f} kB): memory +{grown} MB; {ended[:230]}{'' if fine else '   <-- WRONG'}", flush=True
        )
    return good
