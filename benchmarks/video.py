"""Clips through the host's `mm_plugin`: a span of a file by its name, beside the host's own reading of the whole file.

    python benchmarks/video.py [--clips 1000] [--files 40] [--seconds 10 60] [--size 640 360]

Files are H.264 with a key frame every 250 frames at most (x264's default) and B-frames; spans are drawn by chance, a third each of
1 to 3 s, 3 to 10 s, and the whole file. Each measure is a process of its own. Time is that of the processor. Memory is the peak of the
resident set, less what the imports had taken. Exact means: every frame that was sampled is, pixel for pixel, the frame of a full
decode whose time lies in the span, at the place where the host's rule takes it.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import av
import numpy as np
from peak import peak_kib


FPS = 25
GOAL = 0.5
KINDS = ("short", "middle", "whole")
KEYS = {"image_max_pixels": 256 * 256, "image_min_pixels": 16 * 16, "video_fps": 2.0, "video_maxlen": 128}


def write_file(path: Path, seconds: int, size: tuple[int, int], seed: int) -> None:
    """Write a clip in which noise moves over a slow gradient, so that frames differ and B-frames are worth it."""
    chance = np.random.default_rng(seed)
    width, height = size
    noise = chance.integers(0, 255, (height, width, 3), dtype=np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"preset": "veryfast", "crf": "28"})
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        for number in range(seconds * FPS):
            pixels = np.roll(noise // 4, number * 3, axis=1)
            pixels[:, :, number % 3] += np.uint8(number % 180)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())


def draw_spans(files: list[tuple[str, int]], count: int) -> list[dict[str, Any]]:
    """Return spans over the files, the kinds in turn."""
    chance = random.Random(0)
    spans = []
    for number in range(count):
        path, seconds = files[number % len(files)]
        kind = KINDS[number // len(files) % len(KINDS)]
        length = {"short": chance.uniform(1, 3), "middle": chance.uniform(3, 10), "whole": seconds}[kind]
        start = round(chance.uniform(0, seconds - length), 1)
        end = round(min(start + length, seconds), 1)
        spans.append({"path": path, "kind": kind, "start": start, "end": end})
    return spans


def measure(way: str, kind: str, spans: list[dict[str, Any]]) -> dict[str, float]:
    """Read the clips of a kind in this process."""
    from llamafactory.data.mm_plugin import get_mm_plugin

    from llamafactory_hind.storage.clip_names import ClipName, decimal

    plugin = get_mm_plugin("qwen2_vl", image_token="<|image_pad|>", video_token="<|video_pad|>")
    names = [
        span["path"]
        if way == "host"
        else str(ClipName(span["path"], decimal(span["start"]), None if kind == "whole" else decimal(span["end"])))
        for span in spans
        if span["kind"] == kind
    ]
    plugin.hind_media_as_host = way == "host"
    before = peak_kib()
    began, frames = time.process_time(), 0
    for name in names:
        frames += len(plugin._regularize_videos([name], **KEYS)["videos"][0])
    seconds = time.process_time() - began
    peak = peak_kib() - before
    return {"clips": len(names), "seconds": seconds, "mebibytes": peak / 1024, "frames": frames}


def check_exact(spans: list[dict[str, Any]], most: int) -> int:
    """Return how many of the first spans are exact; the others are printed."""
    from llamafactory_hind.formats.media.clips import Clip, sample_positions

    exact = 0
    for span in spans[:most]:
        with av.open(span["path"]) as container:
            frames = [
                frame.to_image().tobytes()
                for frame in container.decode(container.streams.video[0])
                if span["start"] <= round(frame.time, 6) < span["end"]
            ]
        clip = Clip(f"{span['path']}#t={span['start']},{span['end']}")
        positions = clip.sample()
        expected = sample_positions(len(frames), len(frames) / FPS, KEYS["video_fps"], KEYS["video_maxlen"])
        read = [image.tobytes() for image in clip.images(positions)]
        if positions == expected and read == [frames[place] for place in expected]:
            exact += 1
        else:
            print(f"not exact: {span}")
    return exact


def main() -> None:
    """Make the files, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=1000)
    parser.add_argument("--files", type=int, default=40)
    parser.add_argument("--seconds", type=int, nargs=2, default=(10, 60))
    parser.add_argument("--size", type=int, nargs=2, default=(640, 360))
    parser.add_argument("--checked", type=int, default=100, help="spans whose frames are compared with a full decode")
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        way, kind, file = arguments.measure
        print(json.dumps(measure(way, kind, json.loads(Path(file).read_text()))))
        return
    with tempfile.TemporaryDirectory() as folder:
        compare(Path(folder), arguments)


def compare(folder: Path, arguments: argparse.Namespace) -> None:
    """Measure both ways on the same spans and print them."""
    chance = random.Random(1)
    files = [(str(folder / f"{number}.mp4"), chance.randint(*arguments.seconds)) for number in range(arguments.files)]
    for number, (path, seconds) in enumerate(files):
        write_file(Path(path), seconds, tuple(arguments.size), number)
    spans = draw_spans(files, arguments.clips)
    told = folder / "spans.json"
    told.write_text(json.dumps(spans))
    exact = check_exact(spans, arguments.checked)
    print(f"{exact} of {min(arguments.checked, len(spans))} spans exact")
    for kind in KINDS:
        found = {}
        for way in ("host", "ours"):
            words = [sys.executable, __file__, "--measure", way, kind, str(told)]
            done = subprocess.run(words, capture_output=True, text=True, check=True)
            found[way] = json.loads(done.stdout.splitlines()[-1])
            numbers = found[way]
            each = 1000 * numbers["seconds"] / numbers["clips"]
            print(
                f"{kind:7} {way:5} {numbers['clips']:5} clips {each:8.1f} ms a clip {numbers['mebibytes']:8.1f} MiB "
                f"{numbers['frames']:6} frames",
                flush=True,
            )
        ratio = found["ours"]["seconds"] / found["host"]["seconds"]
        memory = found["ours"]["mebibytes"] / max(found["host"]["mebibytes"], 1e-9)
        goal = f" (goal {GOAL})" if kind == "short" else ""
        print(f"{kind:7} ours / host: time {ratio:.3f}{goal}, memory {memory:.2f}")


if __name__ == "__main__":
    main()
