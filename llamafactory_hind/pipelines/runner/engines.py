"""Opening the engines that a pipeline asks for. Torch and the host are imported only where a local model is opened."""

import asyncio
import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ...config.problem import ConfigError, Problem
from ...engines.interface import Capabilities, Completion, Request, Sampling, Score
from .arguments import SynthArguments


if TYPE_CHECKING:
    from .calls import CallJournal, RecordedEngine


@dataclass
class PoolUsage:
    """What the engines of a run did so far.

    Attributes:
        tokens: written.
        reused_calls: answered from the record of calls.
        reports: of each server's model, by its name.
    """

    tokens: int = 0
    reused_calls: int = 0
    cost: float | None = None
    reports: tuple[str, ...] = ()


class EnginePool:
    """Opens engines, each model once.

    Args:
        arguments: of the run.
        calls: where calls of a server are recorded; None where there is no server.
    """

    def __init__(self, arguments: SynthArguments, calls: "CallJournal | None") -> None:
        """Load nothing yet."""
        self.arguments = arguments
        self.calls = calls
        self._weights: dict[str, Any] = {}
        self._servers: dict[str, RecordedEngine] = {}
        self._engines: list[PipelineEngine] = []

    def open(
        self, *, model: str | None = None, adapters: tuple[str, ...] = (), batch_size: int | None = None
    ) -> "PipelineEngine":
        """Return an engine; those of one model share its weights, whatever their adapters, or its connections.

        Args:
            model: null is the model that writes.
            adapters: LoRA adapters that speak; a server has adapters under names of models.
            batch_size: requests a local model computes at a time; null is that of the run.

        Raises:
            ConfigError: adapters are asked of a server.
        """
        name = model or self.arguments.writer[0]
        if self.arguments.engine == "openai":
            engine = self._open_server(name, adapters)
        else:
            engine = self._open_local(name, adapters, batch_size or self.arguments.batch_size)
        self._engines.append(engine)
        return engine

    def _open_local(self, model: str, adapters: tuple[str, ...], batch_size: int) -> "PipelineEngine":
        from ...engines.local.engine import LocalEngine
        from ...engines.local.weights import load_weights

        if model not in self._weights:
            self._weights[model] = load_weights(model, settings=self.arguments.host_settings)
        return PipelineEngine(LocalEngine(self._weights[model], batch_size=batch_size, adapters=adapters))

    def _open_server(self, model: str, adapters: tuple[str, ...]) -> "PipelineEngine":
        from .calls import RecordedEngine

        given = self.arguments
        if adapters:
            remedy = "Start the server with the adapter under a model name of its own, and give that name."
            raise ConfigError([Problem("engine", "openai", f"`engine: hf` with adapters {list(adapters)}", remedy)])
        if self.calls is None:
            raise ValueError("calls: got None, expected the record of calls: they are paid for.")
        if model not in self._servers:
            self._servers[model] = RecordedEngine(
                self.calls,
                given.host_settings,
                model=model,
                base_urls=given.base_urls,
                api_key_env=given.api_key_env,
                concurrency=given.concurrency,
                timeout=given.request_timeout,
                max_retries=given.max_retries,
                price_in=given.price_in,
                price_out=given.price_out,
                extra_body=given.extra_body or {},
                image_max_pixels=given.host_settings.get("image_max_pixels"),
                video_fps=given.host_settings.get("video_fps"),
                video_max_frames=given.host_settings.get("video_maxlen"),
            )
        return PipelineEngine(self._servers[model])

    @property
    def usage(self) -> PoolUsage:
        """What was done so far, all engines together."""
        found = PoolUsage(
            tokens=sum(engine.tokens for engine in self._engines),
            reused_calls=sum(server.reused_calls for server in self._servers.values()),
        )
        if not self._servers:
            return found
        usages = {model: server.usage for model, server in self._servers.items()}
        costs = [usage.cost for usage in usages.values() if usage.cost is not None]
        return replace(
            found,
            tokens=sum(usage.completion_tokens for usage in usages.values()),
            cost=sum(costs) if costs else None,
            reports=tuple(f"{model}: {usage.report()}" for model, usage in usages.items()),
        )

    async def close(self) -> None:
        """Release connections."""
        for server in self._servers.values():
            await server.close()


class PipelineEngine:
    """The face that pipelines see, the same for a model in this process and one behind a server.

    Args:
        engine: either.

    Attributes:
        tokens: written so far by a model in this process.
    """

    def __init__(self, engine: Any) -> None:
        """Call nothing yet."""
        self._engine = engine
        self._remote = inspect.iscoroutinefunction(engine.generate)
        self.tokens = 0

    @property
    def capabilities(self) -> Capabilities:
        """What the engine can give."""
        found: Capabilities = self._engine.capabilities
        return found

    async def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[list[Completion]]:
        """Write for every request; see `engines.interface.Engine`.

        Raises:
            CallFailed: a server's call failed after its retries; the others were finished and recorded first.
        """
        if not self._remote:
            written: list[list[Completion]] = self._engine.generate(requests, sampling)
            self.tokens += sum(len(completion.token_ids) for completions in written for completion in completions)
            return written
        if len(requests) == 1:
            return [*await self._engine.generate(requests, sampling)]
        from .calls import name_streams

        calls: Iterator[Any] = (self._engine.generate([request], sampling) for request in name_streams(requests))
        found: list[Any] = await asyncio.gather(*calls, return_exceptions=True)
        errors = [result for result in found if isinstance(result, BaseException)]
        if errors:
            raise errors[0]
        return [completions for result in found for completions in result]

    async def score(self, requests: Sequence[Request], texts: Sequence[str | Sequence[int]]) -> list[Score]:
        """Score one assistant turn a request; see `engines.interface.Engine`.

        Raises:
            ConfigError: the engine cannot score.
        """
        if not self.capabilities.scores:
            remedy = "Take `engine: hf`, or a rule that needs no log-probabilities of given texts."
            raise ConfigError([Problem("engine", "openai", "an engine that scores given texts", remedy)])
        found: list[Score] = self._engine.score(requests, texts)
        return found
