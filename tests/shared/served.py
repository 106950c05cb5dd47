"""An `openai` engine before servers of `shared.openai_server`, and what it wrote."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from llamafactory_hind.engines.interface import Completion, Request, Sampling
from llamafactory_hind.engines.server.engine import OpenAIEngine
from shared.openai_server import OpenAIServer


GREEDY = Sampling(n=1, temperature=0.0, top_p=1.0, top_k=0, max_new_tokens=10, seed=0)


HOT = replace(GREEDY, n=3, temperature=1.0, top_p=0.9)


def make_engine(*servers: OpenAIServer, **options: Any) -> OpenAIEngine:
    settings = {"concurrency": 8, "timeout": 60.0, "max_retries": 3, "api_key_env": None, "model": "test"}
    return OpenAIEngine(**{**settings, "base_urls": [server.url for server in servers], **options})


def ask(text: str, **options: Any) -> Request:
    return Request([{"role": "user", "content": text}], **options)


def generate(engine: OpenAIEngine, requests: Sequence[Request], sampling: Sampling = GREEDY) -> list[list[Completion]]:
    async def run() -> list[list[Completion]]:
        try:
            return await engine.generate(requests, sampling)
        finally:
            await engine.close()

    return asyncio.run(run())


def texts(written: list[list[Completion]]) -> list[list[str]]:
    return [[completion.text for completion in completions] for completions in written]
