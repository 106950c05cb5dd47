"""Clips through the host's own `mm_plugin`: pixels, tokens and times are those of a file that holds the clip alone."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import llamafactory
import pytest
import torch
from llamafactory.data import mm_plugin
from llamafactory.data.mm_plugin import get_mm_plugin
from transformers import AutoProcessor, Qwen3VLProcessor, Qwen3VLVideoProcessor

from llamafactory_hind.attach.host_import import version_tuple
from llamafactory_hind.engines.server.data_urls import DataUrls
from llamafactory_hind.formats.media.clips import HOST_FPS, HOST_MAXLEN
from llamafactory_hind.formats.media.host_clips import ClipReader
from shared.videos import all_frames, turn, write_video


KEYS = {"video_fps": 2.0, "video_maxlen": 128, "video_max_pixels": 65536, "video_min_pixels": 256}


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten seconds, ten frames a second."""
    return write_video(tmp_path_factory.mktemp("video") / "v.mp4", size=(96, 64))


@pytest.fixture(scope="module")
def qwen2_5(small_world: Path) -> Callable[..., Any]:
    """The plugin and a real processor, with the host's keys on it as its loader puts them there."""
    loaded = AutoProcessor.from_pretrained(small_world / "tiny")

    def get(**keys: Any) -> tuple[Any, Any]:
        for name, value in {**KEYS, **keys}.items():
            setattr(loaded, name, value)
        return get_mm_plugin("qwen2_vl", image_token="<|image_pad|>", video_token="<|video_pad|>"), loaded

    return get


def read(tools: tuple[Any, Any], *videos: Any) -> dict[str, Any]:
    plugin, processor = tools
    return plugin._get_mm_inputs([], list(videos), [], processor)


def tokens(tools: tuple[Any, Any], video: Any) -> str:
    plugin, processor = tools
    (message,) = plugin.process_messages([{"role": "user", "content": "<video>?"}], [], [video], [], processor)
    return message["content"]


def same(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert torch.equal(one["pixel_values_videos"], other["pixel_values_videos"])
    assert torch.equal(one["video_grid_thw"], other["video_grid_thw"])
    assert one["second_per_grid_ts"] == other["second_per_grid_ts"]


def test_the_hooks_are_there() -> None:
    assert isinstance(mm_plugin.av, ClipReader)
    assert mm_plugin.av.FFmpegError is not None
    fields = mm_plugin.MMPluginMixin._get_video_sample_indices
    assert fields.__wrapped__ is not None


def test_defaults_are_those_of_the_host() -> None:
    from llamafactory.hparams import ModelArguments

    host = ModelArguments(model_name_or_path="none")
    assert (host.video_fps, host.video_maxlen) == (HOST_FPS, HOST_MAXLEN)


@pytest.mark.parametrize("keys", [{}, {"video_fps": 0.7}, {"video_maxlen": 5}, {"video_max_pixels": 1600}])
def test_a_clip_that_is_the_whole_file_is_what_the_host_reads(
    video: Path, qwen2_5: Callable[..., Any], keys: dict[str, Any]
) -> None:
    """By limit, bit for bit."""
    tools = qwen2_5(**keys)
    same(read(tools, f"{video}#t=0,"), read(tools, str(video)))
    assert tokens(tools, f"{video}#t=0,") == tokens(tools, str(video))


def test_a_clip_is_what_a_list_of_its_frames_is(video: Path, qwen2_5: Callable[..., Any]) -> None:
    """By twin: the frames of 2 s <= t < 6 s, sampled as the host does: 8 of 40, 0 to 39 in steps of 39 / 7, rounded down."""
    tools = qwen2_5()
    frames = [image for second, image in all_frames(video) if 2 <= second < 6]
    assert len(frames) == 40
    some = [frames[index] for index in (0, 5, 11, 16, 22, 27, 33, 39)]
    same(read(tools, f"{video}#t=2,6"), read(tools, some))  # a list has `video_fps` frames a second, as the clip
    assert read(tools, f"{video}#t=2,6")["second_per_grid_ts"] == [1.0]


def test_tokens_are_counted_without_decoding_as_with_it(video: Path, qwen2_5: Callable[..., Any]) -> None:
    tools = qwen2_5(video_maxlen=6)
    clip = f"{video}#t=2.25,5.5"
    grid = read(tools, clip)["video_grid_thw"][0]
    assert tokens(tools, clip).count("<|video_pad|>") == int(grid.prod()) // 4


def test_a_turned_clip_has_the_tokens_of_upright_frames(tmp_path: Path, qwen2_5: Callable[..., Any]) -> None:
    file = turn(write_video(tmp_path / "v.mp4", size=(168, 56)), 90)
    grid = read(qwen2_5(video_max_pixels=16384), f"{file}#t=0,2")["video_grid_thw"][0]
    assert grid[1] > grid[2]  # taller than wide
    assert tokens(qwen2_5(), f"{file}#t=0,2").count("<|video_pad|>") == int(grid.prod()) // 4


def test_an_mkv_has_its_times(tmp_path: Path, qwen2_5: Callable[..., Any]) -> None:
    """The host takes the first 128 frames of a file whose header says nothing; a clip is sampled over its span."""
    file = write_video(tmp_path / "v.mkv", size=(96, 64))
    found = read(qwen2_5(video_fps=1.0), f"{file}#t=0,8")
    assert found["video_grid_thw"][0].tolist()[0] == 4
    assert found["second_per_grid_ts"] == [2.0]


def test_frames_that_a_row_has_recorded_are_read(video: Path, qwen2_5: Callable[..., Any]) -> None:
    tools = qwen2_5(video_fps=0.5)
    frames = [image for _, image in all_frames(video)]
    found = read(tools, f"{video}#t=2,6&n=21,35,40,59&s=2.1,3.5,4,5.9")
    other = read(tools, [frames[index] for index in (21, 35, 40, 59)])
    assert torch.equal(found["pixel_values_videos"], other["pixel_values_videos"])
    assert found["second_per_grid_ts"] == [2.0]  # four frames of four seconds


def test_a_server_is_sent_the_frames_that_the_host_reads(video: Path, qwen2_5: Callable[..., Any]) -> None:
    plugin, _ = qwen2_5()
    name = f"{video}#t=1,7.5"
    urls = DataUrls(image_max_pixels=None, video_fps=2.0, video_max_frames=128)
    sent = [urls._fit(frame, "videos") for frame in urls._sample(name)]
    seen = plugin._regularize_videos(
        [name], image_max_pixels=10**6, image_min_pixels=1, video_fps=2.0, video_maxlen=128
    )
    frames = seen["videos"][0][: len(sent)]  # the host doubles the last of an odd number
    assert [image.tobytes() for image in sent] == [image.tobytes() for image in frames]
    assert len(sent) == 13


def test_qwen3_vl_writes_the_seconds_of_the_clip(small_world: Path, video: Path) -> None:
    """By hand: 8 of 40 frames from 2 s on, at 0, 0.5, 1.1, 1.6, 2.2, 2.7, 3.3, 3.9 s; each pair has its mean.

    0.9.4 takes every frame of every video for 1 / `video_fps` seconds: 0, 0.5, 1, 1.5 ...
    """
    loaded = AutoProcessor.from_pretrained(small_world / "tiny")
    tokenizer, images = loaded.tokenizer, loaded.image_processor
    processor = Qwen3VLProcessor(images, tokenizer, Qwen3VLVideoProcessor(patch_size=14), chat_template="")
    for name, value in KEYS.items():
        setattr(processor, name, value)
    plugin = get_mm_plugin("qwen3_vl", image_token="<|image_pad|>", video_token="<|video_pad|>")
    text = tokens((plugin, processor), f"{video}#t=2,6")
    stamps = [part.partition(" seconds>")[0] for part in text.split("<") if " seconds>" in part]
    is_old = version_tuple(llamafactory.__version__)[:3] < (0, 9, 5)
    means = [0.25, 1.25, 2.25, 3.25] if is_old else [0.25, 1.35, 2.45, 3.6]
    assert stamps == [f"{mean:.1f}" for mean in means]
    recorded = tokens((plugin, processor), f"{video}#t=2,6&n=20,25,31,36,42,47,53,59")
    assert recorded == text


def test_a_clip_shows_its_stream_as_the_host_asks_for_it(video: Path) -> None:
    with mm_plugin.av.open(f"{video}#t=1,2") as container:
        (stream,) = container.streams
        known: Any = SimpleNamespace(
            type=stream.type, frames=stream.frames, seconds=stream.duration * stream.time_base
        )
        assert (known.type, known.frames, known.seconds) == ("video", 10, 1)
        container.seek(0)
        assert len([frame.to_image() for frame in container.decode(stream)]) == 10
    with mm_plugin.av.open(str(video)) as container:
        assert type(container).__module__.startswith("av.")
