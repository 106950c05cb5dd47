"""The keys that every pipeline takes, and those of one that samples."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from ...config.command import split_names
from ...config.problem import Problem
from ...engines.interface import Sampling
from ...engines.server.endpoints import Endpoints
from ...formats.media.view import MediaView


@dataclass(kw_only=True)
class SynthArguments:
    """The keys every pipeline takes. Keys of the host's model and template arguments may be given beside them."""

    pipeline: str = field(default="", metadata={"help": "Which pipeline; required."})
    engine: Literal["hf", "openai"] = field(
        default="hf",
        metadata={
            "help": "hf: a model in this process, loaded as in training; openai: a server that speaks the OpenAI API."
        },
    )
    model_name_or_path: str = field(
        default="", metadata={"help": "Folder or hub name of the model that writes; required.", "engine": "hf"}
    )
    adapter_name_or_path: str | None = field(
        default=None,
        metadata={
            "help": "LoRA adapters of the model that writes, separated by commas; they are added up.",
            "engine": "hf",
        },
    )
    template: str = field(
        default="", metadata={"help": "The host's template, as in training; required.", "engine": "hf"}
    )
    batch_size: int = field(
        default=8,
        metadata={"help": "Rows computed together; they are written to the journal together [ours].", "engine": "hf"},
    )
    base_url: str | None = field(
        default=None,
        metadata={
            "help": "Servers of the model, http://host:port/v1, separated by commas; required.",
            "engine": "openai",
        },
    )
    model: str | None = field(
        default=None, metadata={"help": "The model's name at the server; required.", "engine": "openai"}
    )
    api_key_env: str | None = field(
        default=None,
        metadata={
            "help": "NAME of the environment variable that holds the key; null sends none (a local server).",
            "engine": "openai",
        },
    )
    concurrency: int = field(
        default=16, metadata={"help": "Calls at the same time, for each model [ours].", "engine": "openai"}
    )
    request_timeout: float = field(
        default=120.0,
        metadata={"help": "Seconds that one attempt of a call may take [ours].", "engine": "openai"},
    )
    max_retries: int = field(
        default=5, metadata={"help": "Times a call is tried again before its row fails [ours].", "engine": "openai"}
    )
    price_in: float | None = field(
        default=None, metadata={"help": "Price of a million prompt tokens, for the report.", "engine": "openai"}
    )
    price_out: float | None = field(
        default=None, metadata={"help": "Price of a million written tokens, for the report.", "engine": "openai"}
    )
    extra_body: dict[str, Any] | None = field(
        default=None, metadata={"help": "Fields added to the body of every call, a mapping.", "engine": "openai"}
    )
    language: Literal["en", "zh"] = field(default="en", metadata={"help": "Language of our prompt files."})
    dataset: str = field(
        default="", metadata={"help": "Datasets in `dataset_info.json` to read, separated by commas; required."}
    )
    dataset_dir: str = field(default="data", metadata={"help": "Folder of `dataset_info.json`."})
    media_dir: str | None = field(
        default=None, metadata={"help": "Folder of images, videos and audios; null is `dataset_dir`."}
    )
    output: str = field(
        default="",
        metadata={
            "help": "File to write, .json or .jsonl; journal, samples and failures are written beside it; required."
        },
    )
    output_dataset: str | None = field(
        default=None,
        metadata={"help": "Name of the output in `dataset_info.json`; null is the file's name."},
    )
    max_samples: int | None = field(
        default=None, metadata={"help": "Read this many rows of each dataset; null is all."}
    )
    shard: str | None = field(
        default=None,
        metadata={"help": "i/n: do rows i, i+n, i+2n ... only, in separate files; `merge` joins them."},
    )
    merge: int | None = field(
        default=None, metadata={"help": "n: join the outputs of the n shards; no model is loaded or called."}
    )
    max_failure_rate: float = field(
        default=0.5,
        metadata={"help": "Stop when a larger share of the rows of this run has failed, from 20 rows on [ours]."},
    )
    seed: int = field(default=42, metadata={"help": "Seed of all random numbers; the same seed gives the same texts."})
    dry_run: int = field(
        default=0, metadata={"help": "Show the prompts of this many rows and stop; no model is loaded."}
    )
    host_settings: dict[str, Any] = field(
        default_factory=dict,
        init=False,
        metadata={"help": "Not a key: what an answer depends on beside ours: the host's keys given, `extra_body`."},
    )
    prompt_files: dict[str, Any] = field(
        default_factory=dict, init=False, metadata={"help": "Not a key: the prompt files of this run, as first read."}
    )

    def problems(self) -> Iterator[Problem]:
        """Find what is wrong across keys; a pipeline adds its own."""
        needed = {"hf": ("model_name_or_path", "template"), "openai": ("base_url", "model")}[self.engine]
        for key in (*needed, "dataset", "output"):
            if not getattr(self, key):
                yield Problem(key, getattr(self, key), "a value", "The key is required.")
        if self.output and Path(self.output).suffix not in (".json", ".jsonl"):
            yield Problem("output", self.output, "a file that ends in .json or .jsonl", "Give it such a name.")
        yield from at_least(self, 1, "batch_size", "concurrency", "max_samples", "merge")
        yield from at_least(self, 0, "dry_run", "seed", "max_retries", "price_in", "price_out", "max_failure_rate")
        if self.max_failure_rate > 1:
            yield Problem("max_failure_rate", self.max_failure_rate, "at most 1", "It is a share; 1 never stops.")
        yield from self._server_problems()
        yield from self._shard_problems()

    def _server_problems(self) -> Iterator[Problem]:
        if self.request_timeout <= 0:
            yield Problem("request_timeout", self.request_timeout, "more than 0 seconds", "Choose a larger number.")
        if self.base_urls:
            try:
                Endpoints(self.base_urls)
            except ValueError as error:
                remedy = str(error).removeprefix("base_urls: ")
                yield Problem("base_url", "(see there)", "addresses such as http://localhost:8000/v1", remedy)
        from ...engines.server.parameters import OWN_PARAMETERS

        clash = sorted(OWN_PARAMETERS & set(self.extra_body or {}))
        if clash:
            yield Problem(
                "extra_body", clash, "fields that the engine does not set itself", "Use its own keys for them."
            )
        if (self.price_in is None) != (self.price_out is None):
            missing = "price_in" if self.price_in is None else "price_out"
            yield Problem(missing, None, "a price, because the other one is given", "Give both, or neither.")

    def _shard_problems(self) -> Iterator[Problem]:
        if self.shard is not None and self.shard_of is None:
            yield Problem("shard", self.shard, "i/n with i from 1 to n, such as 1/4", "Correct the value.")
        if self.shard is not None and self.merge is not None:
            yield Problem("merge", self.merge, "null with `shard`", "Run the shards first, then `merge` alone.")

    def beside_output(self, ending: str) -> Path:
        """Return the path of a file that lies beside the output, such as `pairs.journal.jsonl`."""
        return Path(self.output).with_suffix(ending)

    @property
    def written_by(self) -> str:
        """Who writes the outputs: another pipeline must not write over them."""
        return f"synth {self.pipeline}"

    def parameters(self, *names: str) -> dict[str, Any]:
        """Return the values of some keys with `host_settings`: what a result depends on beside row, prompts and models."""
        return {name: getattr(self, name) for name in names} | self.host_settings

    @property
    def view(self) -> MediaView:
        """How media are seen: by the host's keys, and by a server's own defaults where they are not given."""
        as_host = bool(self.host_settings.get("media_as_host"))
        if self.engine == "hf":
            return MediaView.of(self.host_settings, as_host=as_host)
        from ...engines.server.parameters import VIDEO_FPS, VIDEO_MAX_FRAMES

        server = {"video_fps": VIDEO_FPS, "video_maxlen": VIDEO_MAX_FRAMES, **self.host_settings}
        most = server.get("image_max_pixels")
        return replace(
            MediaView.of(server, as_host=as_host),
            image_max_pixels=most,
            image_min_pixels=server.get("image_min_pixels") or 0,
            video_max_pixels=server.get("video_max_pixels") or most,
            video_min_pixels=server.get("video_min_pixels") or 0,
        )

    @property
    def writer(self) -> tuple[str, tuple[str, ...]]:
        """The model that writes, and its adapters."""
        if self.engine == "openai":
            return self.model or "", ()
        return self.model_name_or_path, split_names(self.adapter_name_or_path)

    @property
    def base_urls(self) -> tuple[str, ...]:
        """The servers."""
        return split_names(self.base_url)

    @property
    def shard_of(self) -> tuple[int, int] | None:
        """Number of this shard, from 1, and of all shards; None where the whole is done."""
        found = re.fullmatch(r"\s*(\d+)\s*/\s*(\d+)\s*", self.shard or "")
        if not found or not 1 <= int(found[1]) <= int(found[2]):
            return None
        return int(found[1]), int(found[2])


@dataclass(kw_only=True)
class SamplingArguments(SynthArguments):
    """The keys of a pipeline that samples texts; their lengths are keys of its own."""

    temperature: float = field(default=0.7, metadata={"help": "Temperature of sampling [ours]; 0 is greedy."})
    top_p: float = field(
        default=1.0, metadata={"help": "Sample from the smallest set of tokens with this probability; 1.0 is off."}
    )
    top_k: int = field(default=0, metadata={"help": "Sample from this many most probable tokens; 0 is off."})

    def problems(self) -> Iterator[Problem]:
        """Find what is wrong across keys."""
        yield from super().problems()
        yield from at_least(self, 0, "temperature", "top_k")
        if not 0 < self.top_p <= 1:
            yield Problem("top_p", self.top_p, "more than 0, at most 1", "1.0 turns it off.")

    def greedy_repeats(self, key: str) -> Iterator[Problem]:
        """Find a number of texts above 1 where sampling is greedy."""
        if self.temperature == 0 and getattr(self, key) > 1:
            yield Problem(key, getattr(self, key), "at most 1 with temperature 0", "All texts would be the same.")

    def sampling(self, n: int, max_new_tokens: int, *, attempt: int = 0, greedy_first: bool = False) -> Sampling:
        """Return how to sample.

        Args:
            n: texts a request.
            max_new_tokens: after which a text is cut.
            attempt: counts from 0; each has random numbers of its own.
            greedy_first: write the greedy text before the others.
        """
        return Sampling(
            n=n,
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=self.top_k,
            max_new_tokens=max_new_tokens,
            seed=self.seed + attempt,
            greedy_first=greedy_first,
        )


def at_least(arguments: Any, least: float, *keys: str) -> Iterator[Problem]:
    """Find numbers that are too small; null is left alone."""
    for key in keys:
        value = getattr(arguments, key)
        if value is not None and value < least:
            yield Problem(key, value, f"{least} or more", "Choose a larger number.")
