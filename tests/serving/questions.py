"""What the serving tests ask a server through the OpenAI client, one by one, several at once, and streamed."""

from __future__ import annotations

import asyncio
import base64
import io
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

MODEL = "tiny"
TOKENS = 12
SETTINGS: dict[str, Any] = {"temperature": 0.0, "max_tokens": TOKENS}
OF_VLLM: dict[str, Any] = {"ignore_eos": True, "return_token_ids": True}
ONE_BY_ONE, AT_ONCE, STREAMED = "one by one", "several at once", "several at once, streamed"


@dataclass(frozen=True)
class Answer:
    """One answer: its tokens, and how sure the model was of each and of the next best ones."""

    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]
    alternatives: tuple[tuple[str, ...], ...]


def conversations() -> list[list[dict[str, Any]]]:
    """Requests with no image, one image, two images of different sizes, and the one image again."""
    import numpy
    from PIL import Image

    random = numpy.random.default_rng(7)

    def image(height: int, width: int) -> dict[str, Any]:
        file = io.BytesIO()
        Image.fromarray(random.integers(0, 256, (height, width, 3), dtype=numpy.uint8)).save(file, "PNG")
        url = "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
        return {"type": "image_url", "image_url": {"url": url}}

    def text(words: str) -> dict[str, Any]:
        return {"type": "text", "text": words}

    small = image(64, 64)
    return [
        [{"role": "user", "content": [text("Hello")]}],
        [{"role": "user", "content": [small, text("What is this?")]}],
        [{"role": "user", "content": [image(96, 160), image(128, 64), text("Compare.")]}],
        [{"role": "user", "content": [small, text("And this?")]}],
    ]


def ask(port: int) -> dict[str, list[Answer]]:
    """Everything, by the way in which it was asked."""
    return asyncio.run(_everything(port))


def ask_one(port: int) -> Answer:
    """Only the question with two images."""
    return asyncio.run(_in_a_client(port, lambda client: _answer(client, conversations()[2])))


def watch_it_die(port: int, kill: Any) -> str:
    """Kill something of the server in the middle of a streamed answer; says how the client heard of it."""
    return asyncio.run(_in_a_client(port, lambda client: _interrupted(client, kill)))


async def _everything(port: int) -> dict[str, list[Answer]]:
    async def in_all_ways(client: Any) -> dict[str, list[Answer]]:
        asked = conversations()
        return {
            ONE_BY_ONE: [await _answer(client, messages) for messages in asked],
            AT_ONCE: await asyncio.gather(*(_answer(client, messages) for messages in asked)),
            STREAMED: await asyncio.gather(*(_streamed(client, messages) for messages in asked)),
        }

    found: dict[str, list[Answer]] = await _in_a_client(port, in_all_ways)
    return found


async def _in_a_client(port: int, work: Any) -> Any:
    from openai import AsyncOpenAI, DefaultAsyncHttpxClient

    # A proxy of this machine's is no way to its own loopback.
    direct = DefaultAsyncHttpxClient(trust_env=False)
    url = f"http://127.0.0.1:{port}/v1"
    async with AsyncOpenAI(base_url=url, api_key="none", max_retries=0, timeout=120, http_client=direct) as client:
        return await work(client)


def _request(client: Any, messages: list[dict[str, Any]], **more: Any) -> Coroutine[Any, Any, Any]:
    request: Coroutine[Any, Any, Any] = client.chat.completions.create(
        model=MODEL, messages=messages, extra_body=OF_VLLM, **{**SETTINGS, **more}
    )
    return request


async def _answer(client: Any, messages: list[dict[str, Any]]) -> Answer:
    completion = await _request(client, messages, logprobs=True, top_logprobs=3)
    return _put_together([completion.choices[0]])


async def _streamed(client: Any, messages: list[dict[str, Any]]) -> Answer:
    stream = await _request(client, messages, logprobs=True, top_logprobs=3, stream=True)
    return _put_together([chunk.choices[0] async for chunk in stream if chunk.choices])


def _put_together(pieces: list[Any]) -> Answer:
    # Token ids are vLLM's addition, which the first piece of a stream lacks.
    spoken = [token for piece in pieces if piece.logprobs is not None for token in piece.logprobs.content]
    return Answer(
        tokens=tuple(token for piece in pieces for token in getattr(piece, "token_ids", None) or ()),
        logprobs=tuple(token.logprob for token in spoken),
        alternatives=tuple(tuple(other.token for other in token.top_logprobs) for token in spoken),
    )


async def _interrupted(client: Any, kill: Any) -> str:
    stream = await _request(client, conversations()[1], max_tokens=900, stream=True)
    killed = False
    try:
        async for _ in stream:
            if not killed:
                kill()
                killed = True
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "the end of the stream"
