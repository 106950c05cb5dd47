"""The only place that picks an engine by name: `engine` of pipelines, `rollout_engine` of online stages.

Torch and the host are imported only where a local model is opened, aiohttp only where a server is.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

from ..formats.media.view import PIXEL_KEYS
from .interface import Capabilities, Engine, Prompt, RolloutEngine
from .server.protocol import CAPABILITIES as SERVER


if TYPE_CHECKING:
    from llamafactory.hparams import FinetuningArguments
    from torch import nn

    from .local.critic import CriticScorer
    from .local.matching.scorer import MatchScorer
    from .local.weights import LoadedModel
    from .server.engine import CallStore, OpenAIEngine
    from .vllm.engine import VllmEngine


# What an engine can give at most, by its name; which media a local model takes is up to its template.
AT_MOST: Mapping[str, Capabilities] = {
    "hf": Capabilities(
        texts=True,
        scores=True,
        images=True,
        videos=True,
        audios=True,
        distributions=True,
        token_ids=True,
        adapters=True,
        syncs=True,
    ),
    "openai": SERVER,
}
FOR_ROLLOUTS = ("token_ids", "syncs")


@dataclass(frozen=True)
class ServerOptions:
    """How servers are called; see `server.engine.OpenAIEngine`."""

    base_urls: Sequence[str] = ()
    api_key_env: str | None = None
    concurrency: int = 16
    timeout: float = 120.0
    max_retries: int = 5
    price_in: float | None = None
    price_out: float | None = None
    extra_body: Mapping[str, Any] = field(default_factory=dict)


class EngineOpener:
    """Opens the engines of one run, each model once.

    Args:
        name: `hf` (a model in this process) or `openai` (a server).
        settings: the host's keys: template, limits of media, how a model is loaded.
        server: how servers are called.
        call_store: where calls of a server are recorded; None records none.
    """

    def __init__(
        self,
        name: str,
        *,
        settings: Mapping[str, Any],
        server: ServerOptions | None = None,
        call_store: "CallStore | None" = None,
    ) -> None:
        """Load nothing yet."""
        self.capabilities = AT_MOST[name]
        self._open = {"hf": self._open_local, "openai": self._open_server}[name]
        self._settings, self._server, self._call_store = settings, server or ServerOptions(), call_store
        self._loaded: dict[str, LoadedModel] = {}
        self._servers: dict[str, OpenAIEngine] = {}

    def open(self, model: str, *, adapters: Sequence[str] = (), batch_size: int) -> Engine:
        """Return an engine; those of one model share its weights, whatever their adapters, or are one and the same.

        Args:
            model: folder or hub name, or its name at the server.
            adapters: LoRA adapters that speak.
            batch_size: requests that a local model computes at a time.

        Raises:
            ValueError: adapters are asked of an engine that has none.
        """
        if adapters and not self.capabilities.adapters:
            raise ValueError(f"adapters: got {list(adapters)}, which this engine cannot switch; open it without.")
        return self._open(model, adapters, batch_size)

    def _open_local(self, model: str, adapters: Sequence[str], batch_size: int) -> Engine:
        from .local.engine import LocalEngine
        from .local.weights import load_weights

        if model not in self._loaded:
            self._loaded[model] = load_weights(model, settings=self._settings)
        return LocalEngine(self._loaded[model], batch_size=batch_size, adapters=adapters)

    def _open_server(self, model: str, adapters: Sequence[str], batch_size: int) -> Engine:
        from .server.engine import OpenAIEngine

        if model not in self._servers:
            limits: dict[str, Any] = {key: self._settings.get(key) for key in PIXEL_KEYS}
            self._servers[model] = OpenAIEngine(
                model=model,
                **vars(self._server),
                **limits,
                video_fps=self._settings.get("video_fps"),
                video_max_frames=self._settings.get("video_maxlen"),
                media_as_host=bool(self._settings.get("media_as_host")),
                call_store=self._call_store,
            )
        return self._servers[model]


def open_critic(folder: str, *, settings: Mapping[str, Any], batch_size: int) -> "CriticScorer":
    """Return what scores texts with the critic that `stage: critic` has saved.

    Args:
        folder: with its heads, and its model or its adapter.
        settings: the host's keys: template, limits of media, how a model is loaded.
        batch_size: texts computed at a time.

    Raises:
        ValueError: there are no heads in the folder.
    """
    from .local.critic import CriticHeads, CriticScorer
    from .local.weights import load_weights

    heads = CriticHeads.load(folder)
    adapter = Path(folder) / "adapter_config.json"
    if adapter.is_file():
        base = json.loads(adapter.read_text(encoding="utf-8"))["base_model_name_or_path"]
        return CriticScorer(load_weights(base, settings=settings), heads, batch_size=batch_size, adapters=(folder,))
    return CriticScorer(load_weights(folder, settings=settings), heads, batch_size=batch_size)


def open_matcher(
    model: str, adapters: Sequence[str], *, settings: Mapping[str, Any], batch_size: int
) -> "MatchScorer":
    """Return what scores texts for pictures with the matcher that `stage: lskd` has saved beside the last adapter, or the model.

    Args:
        model: folder with a model.
        adapters: folders of its adapters.
        settings: the host's keys: template, limits of media, how a model is loaded.
        batch_size: texts of a picture computed at a time.

    Raises:
        ValueError: there are no heads in the folder.
    """
    from .local.matching.heads import MatchingHeads
    from .local.matching.scorer import MatchScorer
    from .local.weights import load_weights

    heads = MatchingHeads.load([model, *adapters][-1])
    return MatchScorer(load_weights(model, settings=settings), heads, batch_size=batch_size, adapters=adapters)


class MakeRolloutEngine(Protocol):
    """Makes an engine that writes with a policy; see `RolloutEngines.open`."""

    def __call__(
        self,
        *,
        batch_size: int,
        gives_logps: bool,
        collate_prompts: Callable[[Sequence[Prompt]], dict[str, Any]] | None,
    ) -> RolloutEngine:
        """Return the engine."""


@dataclass(frozen=True)
class SyncReport:
    """What handing over weights took.

    Attributes:
        version: number of the weights, from 1.
        seconds: how long it took.
    """

    version: int
    seconds: float


class RolloutEngines:
    """The engines that write with one policy in training, and get its weights together.

    Args:
        make: makes them; the same one again where callers share it.
        every: optimiser steps between two syncs.
        served: the engine behind servers, where `make` gives one; it is probed and closed.
    """

    def __init__(self, make: MakeRolloutEngine, *, every: int = 1, served: "VllmEngine | None" = None) -> None:
        """Open nothing yet."""
        self._make, self._every, self.served = make, every, served
        self._opened: list[RolloutEngine] = []
        self._synced = False

    @classmethod
    def of(
        cls, finetuning_args: "FinetuningArguments", loaded: "LoadedModel", *, output_dir: str | None = None
    ) -> Self:
        """Read the key `rollout_engine`.

        Args:
            finetuning_args: the host's, with the keys of the online stages.
            loaded: the policy.
            output_dir: of the run.
        """
        if finetuning_args.rollout_engine == "vllm":
            served = _open_vllm(finetuning_args, loaded, Path(output_dir or "."))
            return cls(lambda **_: served, every=finetuning_args.rollout_sync_every, served=served)
        tokens = getattr(finetuning_args, "rollout_tokens", None)
        return cls({"hf": partial(_local_rollouts, loaded, tokens)}[finetuning_args.rollout_engine])

    def open(
        self,
        *,
        batch_size: int,
        gives_logps: bool = False,
        collate_prompts: Callable[[Sequence[Prompt]], dict[str, Any]] | None = None,
    ) -> RolloutEngine:
        """Return an engine.

        Args:
            batch_size: prompts that a local model computes at a time.
            gives_logps: completions need their log-probs, at temperature 1.
            collate_prompts: makes left-padded inputs of prompts, for callers that keep them; a server has no use for it.

        Raises:
            ValueError: the engine cannot write rollouts.
        """
        engine = self._make(batch_size=batch_size, gives_logps=gives_logps, collate_prompts=collate_prompts)
        lacking = engine.capabilities.lacking(*FOR_ROLLOUTS)
        if lacking:
            raise ValueError(
                f"rollout_engine: got an engine without {', '.join(lacking)}, expected one that returns the ids it sampled and "
                "takes the weights of the policy. Set `rollout_engine: hf`."
            )
        if not any(engine is opened for opened in self._opened):
            self._opened.append(engine)
        return engine

    def sync(self, model: "nn.Module", *, step: int | None = None) -> SyncReport | None:
        """Give every engine the weights of the policy as they are now.

        Args:
            model: the policy.
            step: optimiser steps so far: between two syncs nothing is done; None always hands over.

        Returns:
            What it took; None where nothing had to be handed over.
        """
        if self.served is not None and self._synced and step is not None and step % self._every:
            return None
        started = time.perf_counter()
        for engine in self._opened:
            engine.sync(model)
        self._synced = True
        if self.served is None:
            return None
        return SyncReport(self.served.version, time.perf_counter() - started)

    def close(self) -> None:
        """Release servers; engines in this process hold nothing open."""
        if self.served is not None:
            self.served.close()


def _open_vllm(keys: "FinetuningArguments", loaded: "LoadedModel", output_dir: Path) -> "VllmEngine":
    from .vllm.engine import ServedOptions, VllmEngine

    options = ServedOptions(
        urls=keys.rollout_server,
        key_variable=keys.rollout_api_key_env,
        sync=keys.rollout_sync,
        folder=Path(keys.rollout_sync_dir or output_dir / "rollout_weights"),
        timeout=keys.rollout_timeout,
        max_retries=keys.rollout_max_retries,
        temperature=keys.rollout_temperature,
        top_p=keys.rollout_top_p,
        top_k=keys.rollout_top_k,
    )
    return VllmEngine(loaded, options, output_dir=output_dir)


def _local_rollouts(
    loaded: "LoadedModel",
    tokens: int | None,
    *,
    batch_size: int,
    gives_logps: bool,
    collate_prompts: Callable[[Sequence[Prompt]], dict[str, Any]] | None,
) -> RolloutEngine:
    from .local.engine import LocalEngine

    return LocalEngine(
        loaded,
        batch_size=batch_size,
        adapters=None,
        gives_logps=gives_logps,
        collate_prompts=collate_prompts,
        tokens=tokens,
    )
