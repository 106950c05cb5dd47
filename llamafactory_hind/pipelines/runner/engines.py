"""The engines that a pipeline asks for: opened once a model, refused where they cannot do what is asked, and counted."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...config.command import split_names
from ...config.problem import ConfigError, Problem
from ...engines.interface import Capabilities, Completion, Engine, Request, Sampling, Score
from ...engines.open import EngineOpener, ServerOptions
from ...engines.usage import Usage
from .arguments import SynthArguments


if TYPE_CHECKING:
    from .calls import CallJournal


REMEDIES = {  # capability that an engine lacks -> what to do
    "scores": "Use `engine: hf`, or a rule that needs no log-probabilities of given texts.",
    "adapters": "Start the server with the adapter under its own model name, and give that name.",
}


@dataclass
class PoolUsage:
    """What the engines of a run did so far.

    Attributes:
        tokens: written.
        reused_calls: answered from the record of calls.
        cost: of calls; None without prices.
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
        """Load nothing yet.

        Raises:
            ValueError: there is no record for calls that are paid for.
        """
        self.arguments = arguments
        self.calls = calls
        self._opener = EngineOpener(
            arguments.engine,
            settings=arguments.host_settings,
            server=ServerOptions(
                base_urls=arguments.base_urls,
                api_key_env=arguments.api_key_env,
                concurrency=arguments.concurrency,
                timeout=arguments.request_timeout,
                max_retries=arguments.max_retries,
                price_in=arguments.price_in,
                price_out=arguments.price_out,
                extra_body=arguments.extra_body or {},
            ),
            call_store=calls,
        )
        if self.concurrent and calls is None:
            raise ValueError("calls: got None, expected the record of calls, because calls are paid for.")
        self._usages: dict[str, list[Usage]] = {}
        self._engines: list[Engine] = []
        self._own_calls: CallJournal | None = None

    @property
    def concurrent(self) -> bool:
        """Whether many rows are best under way at a time, each by itself; else they come in groups."""
        return self._opener.capabilities.concurrent

    def open(
        self,
        *,
        model: str | None = None,
        adapters: tuple[str, ...] = (),
        batch_size: int | None = None,
        scores: bool = False,
    ) -> Engine:
        """Return an engine; those of one model share its weights, whatever their adapters, or its connections.

        Args:
            model: null is the model that writes.
            adapters: LoRA adapters that speak; a server has adapters under names of models.
            batch_size: requests a local model computes at a time; null is that of the run.
            scores: it will be asked to score given texts.

        Raises:
            ConfigError: the engine cannot do this.
        """
        name = model or self.arguments.writer[0]
        asked = {
            "scores": (scores, "an engine that scores given texts"),
            "adapters": (adapters, f"`engine: hf` with adapters {list(adapters)}"),
        }
        needs = [need for need, (wanted, _) in asked.items() if wanted]
        lacking = self._opener.capabilities.lacking(*needs)
        if lacking:
            raise ConfigError(
                [Problem("engine", self.arguments.engine, asked[need][1], REMEDIES[need]) for need in lacking]
            )
        engine = self._opener.open(name, adapters=adapters, batch_size=batch_size or self.arguments.batch_size)
        usages = self._usages.setdefault(name, [])
        if engine.usage not in usages:
            usages.append(engine.usage)
        self._engines.append(engine)
        return SeparateRequests(engine) if engine.capabilities.concurrent else engine

    def open_described(self, described: Mapping[str, Any]) -> Engine:
        """Return an engine that is not the run's own.

        Args:
            described: `engine` (null is that of the run) and its keys: `model` or `model_name_or_path`,
                `adapter_name_or_path`, `template`, `base_url`, `api_key_env`.
        """
        name = described.get("engine") or self.arguments.engine
        server = ServerOptions(
            base_urls=split_names(described.get("base_url")) or self.arguments.base_urls,
            api_key_env=described.get("api_key_env"),
            concurrency=self.arguments.concurrency,
            timeout=self.arguments.request_timeout,
            max_retries=self.arguments.max_retries,
        )
        settings = dict(self.arguments.host_settings)
        if name == "hf":
            settings.pop("extra_body", None)
            settings["template"] = described.get("template") or settings.get("template")
        elif self.calls is None:
            from .calls import CallJournal

            self.calls = self._own_calls = CallJournal(self.arguments.beside_output(".calls.jsonl"), settings)
        opener = EngineOpener(name, settings=settings, server=server, call_store=self.calls)
        model = described.get("model") or described.get("model_name_or_path") or self.arguments.writer[0]
        adapters = split_names(described.get("adapter_name_or_path"))
        engine = opener.open(model, adapters=adapters, batch_size=self.arguments.batch_size)
        self._usages.setdefault(model, []).append(engine.usage)
        self._engines.append(engine)
        return SeparateRequests(engine) if engine.capabilities.concurrent else engine

    @property
    def usage(self) -> PoolUsage:
        """What was done so far, all engines together."""
        usages = [(model, usage) for model, own in self._usages.items() for usage in own]
        costs = [usage.cost for _, usage in usages if usage.cost is not None]
        return PoolUsage(
            tokens=sum(usage.completion_tokens for _, usage in usages),
            reused_calls=0 if self.calls is None else self.calls.reused,
            cost=sum(costs) if costs else None,
            reports=tuple(f"{model}: {usage.report()}" for model, usage in usages) if self.concurrent else (),
        )

    async def close(self) -> None:
        """Release connections."""
        for engine in self._engines:
            await engine.close()
        if self._own_calls is not None:
            self._own_calls.close()


class SeparateRequests:
    """An engine of concurrent calls, asked for each request by itself: where one fails, the others are finished and recorded.

    Args:
        engine: it has a record of calls, or they would be paid for and lost.
    """

    def __init__(self, engine: Engine) -> None:
        """Call nothing yet."""
        self._engine = engine

    @property
    def capabilities(self) -> Capabilities:
        """Those of the engine."""
        return self._engine.capabilities

    @property
    def usage(self) -> Usage:
        """That of the engine."""
        return self._engine.usage

    async def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[list[Completion]]:
        """Write for every request; see `engines.interface.Engine`.

        Raises:
            CallFailed: a call failed after its retries; the others were finished and recorded first.
        """
        if len(requests) == 1:
            return await self._engine.generate(requests, sampling)
        from .calls import name_streams

        calls = (self._engine.generate([request], sampling) for request in name_streams(requests))
        found = await asyncio.gather(*calls, return_exceptions=True)
        errors = [result for result in found if isinstance(result, BaseException)]
        if errors:
            raise errors[0]
        return [completions for result in found if not isinstance(result, BaseException) for completions in result]

    async def score(self, requests: Sequence[Request], texts: Sequence[str | Sequence[int]]) -> list[Score]:
        """Score one assistant turn a request; see `engines.interface.Engine`."""
        return await self._engine.score(requests, texts)

    def sync(self, model: Any) -> None:
        """Hand weights on; see `engines.interface.Engine`."""
        self._engine.sync(model)

    async def close(self) -> None:
        """Release the connections of the engine."""
        await self._engine.close()
