"""The `vllm` engine of rollouts: writes on servers with the weights of a policy that is trained in this process."""

import asyncio
import hashlib
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from llamafactory.extras import logging

from ...storage.atomic import remove
from ...storage.checkpoints import find_whole
from ..interface import Capabilities, Completion, FinishReason, Prompt, Sampling
from ..local.encoding import media_token_ids, representative_prompts
from ..local.scoring import computes_in_half
from ..seeds import derive_seed
from ..server.loop import LoopThread
from ..usage import Usage
from .agreement import ServersFailed, check_difference, mean_difference
from .client import Client
from .fleet import Fleet, Published
from .pictures import ServedPrompts
from .probe import PROBED_PROMPTS, PROBED_TOKENS, own_logps
from .processes import is_first, on_first
from .protocol import Asked, Choice
from .start import check_servers
from .sync import OURS, FullPublisher, LoraPublisher
from .weights import why_not_lora, write_weights


if TYPE_CHECKING:
    from ..local.weights import LoadedModel

logger = logging.get_logger("llamafactory.hind.engines.vllm.engine")
Result = TypeVar("Result")
PROBE_EVERY = 50  # [ours] syncs of an adapter; whole weights are probed after each


@dataclass(frozen=True)
class ServedOptions:
    """The keys `rollout_*` of a run on servers, see `config.keys.rollout_server`."""

    urls: Sequence[str]
    key_variable: str | None
    sync: str
    folder: Path
    timeout: float
    max_retries: int
    temperature: float
    top_p: float = 1.0
    top_k: int = 0


class VllmEngine:
    """Servers that write with one policy; a single engine serves all callers of a run.

    Args:
        loaded: the policy.
        options: of the run.
        output_dir: of the run, whose last checkpoint an error names.
    """

    def __init__(self, loaded: "LoadedModel", options: ServedOptions, *, output_dir: Path) -> None:
        """Look at the servers and choose how they get weights.

        Raises:
            ValueError: a server does not fit, or the policy cannot be sent as asked.
            ServersFailed: no server answers.
        """
        self.loaded, self.options, self.output_dir = loaded, options, output_dir
        self.usage = Usage()
        self.stop_ids = sorted(loaded.template.get_stop_token_ids(loaded.tokenizer))
        self.banned_ids = media_token_ids(loaded)
        self.prompts = ServedPrompts(loaded)
        self.lora = self._chooses_lora(loaded.model)
        self.version = 0
        self._run = on_first(lambda: run_label(output_dir))
        self._probe: Sequence[Prompt] = ()
        self._precision: Callable[[], AbstractContextManager[Any]] = nullcontext
        self._thread = LoopThread("rollouts")
        turn = torch.distributed.get_rank() if torch.distributed.is_initialized() else 0
        client = Client(options.urls, key_variable=options.key_variable, timeout=options.timeout, turn=turn)
        model = self._told(lambda: self._thread.run(check_servers(client), None))
        publisher = (
            LoraPublisher(client)
            if self.lora
            else FullPublisher(client, model=model, run=self._run.rpartition("-")[0])
        )
        self.fleet = Fleet(client, publisher, max_retries=options.max_retries, patience=options.timeout)
        logger.info_rank0(
            f"Rollouts are written by {len(options.urls)} vLLM server{'s' * (len(options.urls) > 1)}, which get "
            f"{'the adapter' if self.lora else 'the whole model'} (`rollout_sync: {'lora' if self.lora else 'full'}`)."
        )

    @property
    def capabilities(self) -> Capabilities:
        """What the template can take, but for videos and audios, which a server samples by itself."""
        image = getattr(self.loaded.template.mm_plugin, "image_token", None) is not None
        return Capabilities(
            texts=True, scores=False, images=image, videos=False, token_ids=True, syncs=True, concurrent=True
        )

    def probe_with(self, prompts: Sequence[Prompt], precision: Callable[[], AbstractContextManager[Any]]) -> None:
        """Take prompts that are written for and scored after a sync, and the precision that the policy computes in."""
        places = representative_prompts(prompts)[:PROBED_PROMPTS]
        self._probe = [prompts[place] for place in places]
        self._precision = precision

    def generate_prompts(
        self,
        prompts: Sequence[Prompt],
        keys: Sequence[str],
        sampling: Sampling,
        *,
        on_generated: Callable[[int], None] | None = None,
    ) -> list[list[Completion]]:
        """Write for prompts that are tokens already; see `interface.RolloutEngine`. Other threads may write at the same time.

        Raises:
            ServersFailed: the servers do not answer as they must.
            ValueError: a prompt cannot be shown to a server as the trainer sees it.
        """
        asked = [self._asked(prompt, key, sampling) for prompt, key in zip(prompts, keys, strict=True)]
        groups = self._told(lambda: self._thread.run(self._all(asked, on_generated), None))
        self.usage.add(
            prompt_tokens=sum(prompt.length for prompt in prompts),
            completion_tokens=sum(len(choice.token_ids) for group in groups for choice in group),
        )
        return [[self._completion(choice) for choice in group] for group in groups]

    def sync(self, model: torch.nn.Module) -> None:
        """Give the servers the policy's weights as they are now; see `interface.Engine`. All processes must call."""
        del model  # that of `loaded`, perhaps wrapped
        number = self.version + 1
        label = on_first(lambda: self._publish(number))
        if not is_first():
            self._thread.run(self._follow(label), None)
        self.version = number

    def close(self) -> None:
        """Take the weights from the servers and from the disk."""
        try:
            self._thread.run(self._release(), self.options.timeout)
        except Exception as error:  # nothing depends on it any more
            logger.info_rank0(f"Servers of rollouts were not released: {error}.")
        self._thread.stop()
        if is_first():
            remove(self._folder())
            with suppress(OSError):  # others may use it
                self.options.folder.rmdir()

    # writing

    def _asked(self, prompt: Prompt, key: str, sampling: Sampling) -> list[Asked]:
        """Return the requests of a prompt: the sampled completions in one, the greedy one apart, first."""
        short, parts = self.prompts.of(prompt)
        sampled = Asked(
            prompt_ids=prompt.input_ids,
            short_ids=short,
            parts=parts,
            n=sampling.n,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=sampling.top_k,
            max_new_tokens=sampling.max_new_tokens,
            seed=derive_seed(sampling.seed, key, 0),
            stop_ids=self.stop_ids,
            banned_ids=self.banned_ids,
        )
        greedy = replace(sampled, n=1, temperature=0.0, top_p=1.0, top_k=0)
        return [greedy] * sampling.greedy_first + [sampled] * (sampling.n > 0)

    async def _all(
        self, asked: Sequence[Sequence[Asked]], on_generated: Callable[[int], None] | None
    ) -> list[list[Choice]]:
        async def group(requests: Sequence[Asked]) -> list[Choice]:
            parts = await asyncio.gather(*map(self.fleet.write, requests))
            if on_generated is not None:
                on_generated(sum(map(len, parts)))
            return [choice for part in parts for choice in part]

        tasks = [asyncio.ensure_future(group(requests)) for requests in asked]
        try:
            return list(await asyncio.gather(*tasks))
        finally:
            for task in tasks:
                task.cancel()  # one failed: the others are of no use any more
            await asyncio.gather(*tasks, return_exceptions=True)

    def _completion(self, choice: Choice) -> Completion:
        ids, stopped = choice.token_ids, choice.finish_reason == FinishReason.STOP
        text = self.loaded.tokenizer.decode(ids[: len(ids) - stopped], skip_special_tokens=True)
        return Completion(text, ids, None, choice.finish_reason, sampling_logps=choice.logps)

    # weights

    def _publish(self, number: int) -> str:
        """Write the weights, give them to all servers, prove that they answer with them; return their label."""
        label = f"{self._run}-{number}"
        folder = self._folder() / f"step-{number}"
        write_weights(self.loaded.model, folder, lora=self.lora)
        before = self.fleet.published
        self._told(lambda: self._thread.run(self.fleet.publish(label, folder.resolve()), None))
        if before is not None:
            remove(before.folder)
        if number == 1 or not self.lora or number % PROBE_EVERY == 0:
            self._prove()
        return label

    async def _follow(self, label: str) -> None:
        """Ask for the weights that the first process has published."""
        number = label.rpartition("-")[2]
        self.fleet.published = Published(label, (self._folder() / f"step-{number}").resolve())

    def _prove(self) -> None:
        """Let each server write a little and compare its log-probs with ours.

        Raises:
            ServersFailed: they differ.
        """
        if not self._probe or (self.options.top_p, self.options.top_k) != (1.0, 0):
            return  # with top-p or top-k the server's numbers are those of the tokens that are left
        sampling = Sampling(
            n=1,
            temperature=self.options.temperature,
            top_p=self.options.top_p,
            top_k=self.options.top_k,
            max_new_tokens=PROBED_TOKENS,
            seed=0,
        )
        written = self.generate_prompts(self._probe, [f"probe/{place}" for place in range(len(self._probe))], sampling)
        answered = [
            Prompt(prompt.input_ids, list(group[0].token_ids), prompt.request)
            for prompt, group in zip(self._probe, written, strict=True)
        ]
        with self._precision():
            half = computes_in_half(self.loaded.model)
        ours = own_logps(self.loaded, answered, temperature=sampling.temperature, precision=self._precision())
        check_difference(mean_difference(ours, [group[0].sampling_logps for group in written]), half=half)

    def _folder(self) -> Path:
        return self.options.folder / self._run

    async def _release(self) -> None:
        if isinstance(self.fleet.publisher, FullPublisher):
            for server in self.fleet.client.servers:
                await self.fleet.publisher.release(server)
        await self.fleet.close()

    def _chooses_lora(self, model: Any) -> bool:
        """Read `rollout_sync`.

        Raises:
            ValueError: `lora` where vLLM would refuse or ignore the adapter.
        """
        if self.options.sync == "full":
            return False
        reason = why_not_lora(model)
        if reason is not None and self.options.sync == "lora":
            raise ValueError(f"rollout_sync: got 'lora', expected 'full' or 'auto', because {reason}.")
        return reason is None

    def _told(self, work: Callable[[], Result]) -> Result:
        """Do some work; an error of the servers names the checkpoint from which the run can go on."""
        try:
            return work()
        except ServersFailed as error:
            found = find_whole(self.output_dir).newest if self.output_dir.is_dir() else None
            after = "from its beginning" if found is None else f"from {found}"
            raise ServersFailed(f"{error} The same command goes on {after}.") from error


def run_label(output_dir: Path) -> str:
    """Return the beginning of the labels of a run's weights: the same after a restart up to its last part, a time."""
    digest = hashlib.sha256(str(output_dir.resolve()).encode()).hexdigest()[:10]
    return f"{OURS}{digest}-{int(time.time() * 1000):x}"
