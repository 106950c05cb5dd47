"""The host's reading of videos, opened for clips: `v.mp4#t=1.0,7.5` is a part of a file, see `formats.media.clip_names`."""

from functools import wraps
from types import ModuleType
from typing import Any


def read_clips(mm_plugin: ModuleType) -> None:
    """Let the host open names of clips as it opens files; every other name still goes to PyAV."""
    from ..formats.media.host_clips import ClipReader

    mm_plugin.av = ClipReader(mm_plugin.av)


def sample_clips(mm_plugin: ModuleType) -> None:
    """Let a clip choose its frames: those that its row has recorded, else by the host's own rule."""
    host_indices = mm_plugin.MMPluginMixin._get_video_sample_indices

    @wraps(host_indices)
    def _get_video_sample_indices(
        self: Any, video_stream: Any, video_fps: float, video_maxlen: int, **kwargs: Any
    ) -> Any:
        from ..formats.media.host_clips import ClipStream

        if isinstance(video_stream, ClipStream):
            return video_stream.sample(video_fps, video_maxlen)
        return host_indices(self, video_stream, video_fps, video_maxlen, **kwargs)

    mm_plugin.MMPluginMixin._get_video_sample_indices = _get_video_sample_indices
