"""A stand-in for a vLLM server: real HTTP, the tiny model, and vLLM's ways with pads, weights, labels, adapters and caches.

`tests/data/vllm/*.json` are answers of vLLM 0.32; `tests/engines/vllm/test_stand_in.py` holds this one to their fields and types.
`Faults` is everything that can go wrong with a server, one switch each.
"""

import asyncio
import base64
import io
import threading
import time
from collections import Counter
from copy import deepcopy
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, Self

import torch
from aiohttp import web
from PIL import Image

from llamafactory_hind.engines.interface import FinishReason, Prompt, Request, Sampling
from llamafactory_hind.engines.local.encoding import collate
from llamafactory_hind.engines.local.engine import LocalEngine
from llamafactory_hind.engines.local.scoring import plain_token_logprobs
from llamafactory_hind.engines.local.weights import LoadedModel, load_weights


ROUTES = {
    "GET": ("/health", "/version", "/v1/models", "/weight_info"),
    "POST": (
        "/inference/v1/generate",
        "/v1/load_lora_adapter",
        "/v1/unload_lora_adapter",
        "/pause",
        "/resume",
        "/collective_rpc",
        "/update_weight_version",
    ),
}


@dataclass
class Faults:
    """What goes wrong; changed at any time by a test.

    Attributes:
        next: kinds for the next requests, one each: `error`, `busy`, `hang`, `reset`, `abort`, `missing`, `version`, `nan`,
            `banned`, `cut`, `empty`.
        expands_twice: pads that are expanded already are expanded again, which the real one always does; here: of every prompt.
        ignores_weights: new weights are labelled and not used, as a stale cache would have it.
        raw: log-probs of temperature 1 (`--logprobs-mode raw_logprobs`).
        dev_mode: `VLLM_SERVER_DEV_MODE`.
        lora: `--enable-lora` with `VLLM_ALLOW_RUNTIME_LORA_UPDATING`.
        scale_out: `--enable-scale-out`.
        version: of vLLM.
        key: that every request must carry; None takes all.
        delay: seconds that a request takes at least.
    """

    next: list[str] = field(default_factory=list)
    expands_twice: bool = False
    ignores_weights: bool = False
    raw: bool = False
    dev_mode: bool = True
    lora: bool = True
    scale_out: bool = True
    version: str = "0.32.0"
    key: str | None = None
    delay: float = 0.0


class VllmServer:
    """The server. `with VllmServer(checkpoint) as server:` runs it in a thread.

    Attributes:
        faults: see `Faults`.
        bodies: of the requests to write, as they came.
        calls: path -> how often it was called.
        written: (prompt ids, seed) -> the ids of its completions, for runs that are to learn from the same.
    """

    def __init__(self, checkpoint: Path, *, faults: Faults | None = None, port: int = 0) -> None:
        self.checkpoint, self.faults, self.port = checkpoint, faults or Faults(), port
        self.loaded = load_weights(str(checkpoint), settings={"template": "qwen2_vl"})
        self._first = deepcopy(self.loaded.model.state_dict())
        self.bodies: list[dict[str, Any]] = []
        self.calls: Counter[str] = Counter()
        self.written: dict[tuple[tuple[int, ...], int], list[tuple[int, ...]]] = {}
        self.forget()

    def forget(self) -> None:
        """Be as after a start: first weights, no adapter, label `default`."""
        self.adapters: dict[str, Path] = {}
        self.label, self.paused, self.dead = "default", False, False
        self._encoder_cache_lost = False
        self._bare().load_state_dict(self._first)

    def _bare(self) -> torch.nn.Module:
        """Take all adapters out of the model and return it."""
        if self.loaded.adapters:
            self.loaded.model = self.loaded.model.unload()
            del self.loaded.model.peft_config  # peft would take the next adapters for these
            self.loaded.adapters.clear()
        return self.loaded.model

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    # routes

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.calls[request.path] += 1
        faults = self.faults
        if self.dead:
            request.transport.abort()
            return web.Response()
        guarded = request.path.startswith(("/v1", "/inference"))  # dev routes are not: as in the real one
        if faults.key and guarded and request.headers.get("Authorization") != f"Bearer {faults.key}":
            return error(401, "Unauthorized")
        body = await request.json() if request.can_read_body else {}
        name = request.path.rpartition("/")[2]
        if (
            name in ("pause", "resume", "collective_rpc", "update_weight_version", "weight_info")
            and not faults.dev_mode
        ):
            return error(404, "Not Found")
        if name in ("load_lora_adapter", "unload_lora_adapter") and not faults.lora:
            return error(404, "Not Found")
        return await getattr(self, f"_{name}")(request, body)

    async def _health(self, request: web.Request, body: Any) -> web.Response:
        return web.Response()

    async def _version(self, request: web.Request, body: Any) -> web.Response:
        return web.json_response({"version": self.faults.version})

    async def _models(self, request: web.Request, body: Any) -> web.Response:
        own = [{"id": "policy", "object": "model", "root": str(self.checkpoint), "parent": None}]
        more = [
            {"id": name, "object": "model", "root": str(path), "parent": "policy"}
            for name, path in self.adapters.items()
        ]
        return web.json_response({"object": "list", "data": own + more})

    async def _weight_info(self, request: web.Request, body: Any) -> web.Response:
        return web.json_response({"weight_version": self.label})

    async def _update_weight_version(self, request: web.Request, body: Any) -> web.Response:
        self.label = body["new_version"]
        return web.json_response({"success": True, "new_version": self.label})

    async def _pause(self, request: web.Request, body: Any) -> web.Response:
        self.paused = True
        while self._under_way and request.query["mode"] == "wait":
            await asyncio.sleep(0.005)
        return web.json_response({"status": "paused"})

    async def _resume(self, request: web.Request, body: Any) -> web.Response:
        self.paused = False
        return web.json_response({"status": "resumed"})

    async def _collective_rpc(self, request: web.Request, body: Any) -> web.Response:
        assert body["method"] == "reload_weights"
        folder = Path(body["kwargs"]["weights_path"])
        if not (folder / "model.safetensors").is_file():
            return error(500, f"no weights in {folder}")
        if not self.paused:
            self._encoder_cache_lost = True  # the next picture kills it
        if not self.faults.ignores_weights:
            model = self._bare()
            new = type(model).from_pretrained(folder, config=model.config, torch_dtype=torch.float32)
            model.load_state_dict(new.state_dict())
        return web.json_response({"results": [None]})

    async def _load_lora_adapter(self, request: web.Request, body: Any) -> web.Response:
        name, path = body["lora_name"], Path(body["lora_path"])
        if name in self.adapters:
            return error(400, f"The lora adapter '{name}' has already been loaded.")
        if not (path / "adapter_config.json").is_file():
            return error(404, f"Loading lora {name} failed: No adapter found for {path}")
        newest = list(self.adapters.values())[-1:] if self.faults.ignores_weights else []
        self.adapters[name] = (newest or [path])[0]
        self.loaded.add_adapters([str(self.adapters[name])])
        return web.Response(text=f"Success: LoRA adapter '{name}' added successfully.")

    async def _unload_lora_adapter(self, request: web.Request, body: Any) -> web.Response:
        if self.adapters.pop(body["lora_name"], None) is None:
            return error(404, f"The lora adapter '{body['lora_name']}' cannot be found.")
        return web.Response(text="Success")

    _under_way = 0

    async def _generate(self, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        self.bodies.append(body)
        if not self.faults.scale_out:
            return error(403, "This endpoint is disabled")
        if body["model"] not in ("policy", *self.adapters):
            return error(404, f"The model `{body['model']}` does not exist.")
        kind = self.faults.next.pop(0) if self.faults.next else None
        if kind in ("error", "busy"):
            return error({"error": 500, "busy": 503}[kind], "Internal error.")
        if kind == "hang":
            await asyncio.Event().wait()  # cancelled when the client goes away
        if kind == "reset" or (self._encoder_cache_lost and body.get("content_parts")):
            self.dead = self._encoder_cache_lost
            request.transport.abort()
            return web.Response()
        while self.paused:
            await asyncio.sleep(0.005)
        self._under_way += 1
        try:
            await asyncio.sleep(self.faults.delay)
            async with self._lock:
                answer = await asyncio.to_thread(self._answer, body)
        finally:
            self._under_way -= 1
        return web.json_response(spoilt(answer, kind, body))

    # the model

    def _answer(self, body: dict[str, Any]) -> dict[str, Any]:
        sampling = body["sampling_params"]
        images = [decode(part["url"]) for part in body.get("content_parts") or []]
        ids = expand(self.loaded, body["token_ids"], images)
        shown = expand(self.loaded, ids, images) if self.faults.expands_twice else ids
        adapter = self.adapters.get(body["model"])
        groups, logps = self._write(Prompt(ids, [], Request((), images=images)), adapter, sampling)
        self.written[(tuple(ids), sampling["seed"])] = [tuple(choice.token_ids) for choice in groups]
        choices = [
            {
                "index": index,
                "finish_reason": str(choice.finish_reason),
                "stop_reason": choice.token_ids[-1] if choice.finish_reason == FinishReason.STOP else None,
                "token_ids": list(choice.token_ids),
                "routed_experts": None,
                "sampling_mask": None,
                "weight_versions": [{"version": self.label, "start": 0, "end": len(choice.token_ids)}],
                "logprobs": {
                    "content": [
                        {"token_id": token, "logprob": logp, "rank": 1, "top_logprobs": [ranked(token, logp)]}
                        for token, logp in zip(choice.token_ids, own, strict=True)
                    ]
                },
            }
            for index, (choice, own) in enumerate(zip(groups, logps, strict=True))
        ]
        written = sum(len(choice["token_ids"]) for choice in choices)
        return {
            "request_id": "generate-tokens-0",
            "model": body["model"],
            "created": int(time.time()),
            "usage": {"prompt_tokens": len(ids), "total_tokens": len(ids) + written, "completion_tokens": written}
            | {"prompt_tokens_details": None, "completion_tokens_details": None},
            "prompt_logprobs": None,
            "prompt_token_id_logprobs": None,
            "prompt_token_ids": shown if body.get("return_token_ids") else None,
            "mm_placeholders": {"image": [{"offset": place, "length": size} for place, size in runs(ids, body)]}
            if images
            else None,
            "metrics": None,
            "kv_transfer_params": None,
            "ec_transfer_params": None,
            "output_mode": "tokens",
            "choices": choices,
        }

    def _write(
        self, prompt: Prompt, adapter: Path | None, sampling: dict[str, Any]
    ) -> tuple[list[Any], list[list[float]]]:
        """Write n completions with the seeds s, s + 1 ...; return them, and their log-probs."""
        engine = LocalEngine(self.loaded, batch_size=16, adapters=() if adapter is None else (str(adapter),))
        assert set(map(int, sampling["logit_bias"])) == set(engine.banned_ids)
        assert sampling["stop_token_ids"] == engine.stop_ids
        how = Sampling(
            n=1,
            temperature=sampling["temperature"],
            top_p=sampling["top_p"],
            top_k=sampling["top_k"],
            max_new_tokens=sampling["max_tokens"],
            seed=0,
        )
        seeds = [str(sampling["seed"] + number) for number in range(sampling["n"])]
        groups = [group[0] for group in engine.generate_prompts([prompt] * len(seeds), seeds, how)]
        answered = [Prompt(prompt.input_ids, list(choice.token_ids), prompt.request) for choice in groups]
        temperature = 1.0 if self.faults.raw or not how.temperature else how.temperature
        with torch.no_grad(), self.loaded.active(engine.adapters):
            inputs, labels = collate(self.loaded, answered, padding_side="right")
            rows = plain_token_logprobs(self.loaded.model, inputs, labels, temperature=temperature)
        return groups, [
            row[len(prompt.input_ids) : each.length].tolist() for row, each in zip(rows, answered, strict=True)
        ]

    # start and end

    async def _open(self) -> None:
        self._lock = asyncio.Lock()
        app = web.Application(client_max_size=1 << 28)
        for method, paths in ROUTES.items():
            for path in paths:
                app.router.add_route(method, path, self._handle)
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()
        self.port = self._runner.addresses[0][1]

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.listen()
        return self

    def listen(self) -> None:
        """Take calls, at the same port as before."""
        asyncio.run_coroutine_threadsafe(self._open(), self._loop).result(30)

    def shut(self) -> None:
        """Refuse connections, as a server that has died."""
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result(30)

    def __exit__(self, *_: object) -> None:
        self.shut()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(30)
        self._loop.close()


def expand(loaded: LoadedModel, ids: list[int], images: list[Image.Image]) -> list[int]:
    """Replace the first pad of each picture by as many as the server's own processor makes of it; others stay as they are."""
    pad = loaded.tokenizer.convert_tokens_to_ids(loaded.template.mm_plugin.image_token)
    processor = loaded.processor.image_processor
    counts = []
    for image in images:
        grid = processor(images=[image], return_tensors="pt")["image_grid_thw"][0]
        counts.append(int(grid.prod()) // processor.merge_size**2)
    found: list[int] = []
    for token in ids:
        found += [pad] * counts.pop(0) if token == pad and counts else [token]
    return found


def runs(ids: list[int], body: dict[str, Any]) -> list[tuple[int, int]]:
    """Where pads of pictures stand, and how many: those of each run of one banned id that comes more than once."""
    banned = set(map(int, body["sampling_params"]["logit_bias"]))
    groups = [(token, list(places)) for token, places in groupby(range(len(ids)), key=ids.__getitem__)]
    return [(places[0], len(places)) for token, places in groups if token in banned and len(places) > 1]


def ranked(token: int, logp: float) -> dict[str, Any]:
    return {"token_id": token, "logprob": logp, "rank": 1}


def decode(url: str) -> Image.Image:
    header, _, content = url.partition(",")
    assert header == "data:image/png;base64"
    return Image.open(io.BytesIO(base64.b64decode(content)))


def spoilt(answer: dict[str, Any], kind: str | None, body: dict[str, Any]) -> dict[str, Any]:
    """Return an answer with a fault in it."""
    first = answer["choices"][0]
    if kind == "abort":
        first["finish_reason"] = "abort"
    elif kind == "missing":
        answer["choices"].pop()
    elif kind == "version":
        first["weight_versions"][0]["version"] = "default"
        answer["model"] = "policy-of-another-run"
    elif kind == "nan":
        first["logprobs"]["content"][0]["logprob"] = -9999.0
    elif kind == "banned":
        medium = int(next(iter(body["sampling_params"]["logit_bias"])))
        first["token_ids"][0] = first["logprobs"]["content"][0]["token_id"] = medium
    elif kind == "cut":
        first["logprobs"]["content"].pop()
    elif kind == "empty":
        answer = {"request_id": "generate-tokens-0"}
    return answer


def error(status: int, message: str) -> web.Response:
    content = {"error": {"message": message, "type": "error", "param": None, "code": status}}
    return web.json_response(content, status=status)
