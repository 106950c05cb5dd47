"""The host's reading of media, through our picture and video functions: one way to see a medium in training, engines and servers."""

from functools import wraps
from types import ModuleType
from typing import Any

from .. import config


WRAPPED = {  # method of the host's plugins -> our function around it
    "_regularize_images": "regularize_images",
    "_regularize_videos": "regularize_videos",
    "_get_video_sample_indices": "sample_indices",
    "_get_qwen_video_stream_metadata": "stream_metadata",
}


def see_media_one_way(mm_plugin: ModuleType) -> None:
    """Wrap the methods that open media, in every plugin that defines them."""
    for plugin in list(vars(mm_plugin).values()):
        if isinstance(plugin, type) and issubclass(plugin, mm_plugin.MMPluginMixin):
            for name in WRAPPED.keys() & vars(plugin).keys():
                setattr(plugin, name, _through_ours(vars(plugin)[name], WRAPPED[name]))


def _through_ours(host_method: Any, name: str) -> Any:
    @wraps(host_method)
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        from ..formats.media import host_view

        return getattr(host_view, name)(host_method, self, *args, **kwargs)

    return method


def choose_the_way(loader: ModuleType) -> None:
    """Before rows are loaded: the host's stages on the host's formats see media as the host alone does, as does `media_as_host`."""
    host_get_dataset = loader.get_dataset

    @wraps(host_get_dataset)
    def get_dataset(
        template: Any, model_args: Any, data_args: Any, training_args: Any, stage: str, *args: Any, **kwargs: Any
    ) -> Any:
        from ..formats.align.run import RUN, Run
        from ..formats.media.host_view import set_way

        is_ours = stage in config.STAGES or _has_our_rows(loader, data_args)
        set_way(template.mm_plugin, as_host=not is_ours or data_args.media_as_host)
        token = RUN.set(Run.of(template, model_args, data_args, *args, **kwargs, ours=is_ours))
        try:
            module = host_get_dataset(template, model_args, data_args, training_args, stage, *args, **kwargs)
        finally:
            RUN.reset(token)
        if is_ours:
            from ..trainers.host_guard import HostRun

            HostRun.begin(module, data_args, training_args)
        return module

    loader.get_dataset = get_dataset


def _has_our_rows(loader: ModuleType, data_args: Any) -> bool:
    from ..formats import format_names

    names = [*(data_args.dataset or []), *(data_args.eval_dataset or [])]
    try:
        found = loader.get_dataset_list(names, data_args.dataset_dir)
    except Exception:  # the host says best what is wrong with an entry, when it loads it
        return False
    return any(attribute.formatting in format_names() for attribute in found)
