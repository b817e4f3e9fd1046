"""Questions to an endpoint that speaks OpenAI's chat completions, and what its answers cost.

A request that meets 408, 409, 425, 429, a 5xx, a time limit, a broken connection or a body that is no completion is
sent again, later each time and with jitter; ``Retry-After`` is obeyed, and while it runs nobody else asks either. Any
other refusal is final. The key is sent in one header and appears nowhere else: not in a message, a log or a ``repr``.
"""

from __future__ import annotations

import asyncio
import datetime
import email.utils
import json
import os
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any, Self

import httpx2

from wetread.errors import MissingError, UsageError, WetreadError

URL, MODEL, KEY = "WETREAD_JUDGE_URL", "WETREAD_JUDGE_MODEL", "WETREAD_JUDGE_KEY"
"""Environment variables that name the endpoint."""

Messages = Sequence[Mapping[str, str]]
"""A conversation: ``{"role": …, "content": …}`` each."""

_AGAIN = frozenset({408, 409, 425, 429})
_HOPELESS = frozenset({401, 404})
_LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})
_EXCERPT = 160
_ECHO = 20


class Unanswered(WetreadError):
    """The endpoint gave no usable answer to one question; the text says why."""

    def __init__(self, reason: str, *, hopeless: bool = False) -> None:
        super().__init__(reason)
        self.hopeless = hopeless
        """Whether every other question would meet the same refusal (a wrong key, an unknown model)."""


@dataclass(frozen=True)
class Endpoint:
    """Where the judge is, and how it is asked."""

    url: str
    """Base URL, such as ``http://localhost:8000/v1``; ``/chat/completions`` is added where it is not there."""
    model: str
    """Name of the model at that endpoint."""
    key: str | None = field(default=None, repr=False)
    """Key, sent as ``Authorization: Bearer``; None: none is sent."""
    concurrency: int = 8
    """Greatest number of requests under way at once."""
    timeout: float = 120.0
    """Seconds for one request, from sending it to the last byte of its answer."""
    attempts: int = 6
    """How often one question is sent before it counts as failed."""
    backoff: float = 1.0
    """Seconds before the second attempt; doubles with each, up to ``longest_wait``, times a random 0.5 to 1."""
    longest_wait: float = 60.0
    """Greatest backoff in seconds."""
    patience: float = 600.0
    """Longest ``Retry-After`` in seconds that is waited for; a longer one makes the question fail."""
    max_tokens: int = 2048
    """Limit of an answer's length in tokens; an answer that meets it is not scored."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Further fields of the request, such as ``{"seed": 1}``; None takes a field away (``{"temperature": None}``)."""
    input_price: float = 0.0
    """Price of a million prompt tokens, in any currency."""
    output_price: float = 0.0
    """Price of a million tokens of an answer."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", (self.key or "").strip() or None)
        if self.key and not (self.key.isascii() and self.key.isprintable() and " " not in self.key):
            raise UsageError(f"the judge's key holds a space or a character that no header may carry; check {KEY}.")
        try:
            parts = httpx2.URL(self.url)
        except httpx2.InvalidURL:
            raise UsageError(
                f"the judge's URL cannot be read; give one like http://localhost:8000/v1 in {URL}."
            ) from None
        if parts.scheme not in ("http", "https") or not parts.host:
            raise UsageError(
                f"the judge's URL must be http(s)://host/…; give one like http://localhost:8000/v1 in {URL}."
            )
        if parts.userinfo:
            raise UsageError(f"the judge's URL holds a user name or a password; give the key in {KEY} instead.")
        for name in ("concurrency", "attempts", "max_tokens"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} of a judge is {getattr(self, name)}; it must be at least 1.")
        if not self.timeout > 0:
            raise UsageError(f"timeout of a judge is {self.timeout}; it must be more than 0 seconds.")

    @classmethod
    def from_environment(cls, metric: str = "this metric", **changes: Any) -> Self:
        """Return the endpoint that the environment names; ``changes`` are fields that are given here instead.

        Raises
        ------
        MissingError
            When no URL or no model is named.
        """
        named = {
            "url": os.environ.get(URL, ""),
            "model": os.environ.get(MODEL, ""),
            "key": os.environ.get(KEY),
        } | changes
        lacking = [variable for name, variable in (("url", URL), ("model", MODEL)) if not named[name]]
        if lacking:
            raise MissingError(
                f"{metric} is judged by a language model, and {' and '.join(lacking)} "
                f"{'is' if len(lacking) == 1 else 'are'} not set. Name any OpenAI-compatible endpoint with {URL} "
                f"(http://localhost:8000/v1), {MODEL} and, where it asks for one, {KEY}."
            )
        return cls(**named)

    @property
    def address(self) -> httpx2.URL:
        """The URL that questions are posted to."""
        parts = httpx2.URL(self.url)
        path = parts.path.rstrip("/")
        return parts.copy_with(path=path if path.endswith("/chat/completions") else path + "/chat/completions")

    @property
    def shown(self) -> str:
        """The URL for messages: scheme, host and path, without a query."""
        return str(self.address.copy_with(query=None, fragment=None))

    def body(self) -> dict[str, Any]:
        """Return the fields of a request except the conversation; two endpoints with equal ones share a cache."""
        fields = {"model": self.model, "temperature": 0, "max_tokens": self.max_tokens, **self.options}
        return {name: value for name, value in fields.items() if value is not None}


@dataclass
class Usage:
    """What was asked and what it cost, added up; hand one to ``judge`` and read it afterwards."""

    judged: int = 0
    """Pairs that have a value, those from the cache included."""
    cached: int = 0
    """Pairs whose judgement was in the cache: no request, no cost."""
    unscored: int = 0
    """Pairs without a value."""
    requests: int = 0
    """Requests that were sent, repeated ones included."""
    retries: int = 0
    """Requests that repeated an earlier one."""
    prompt_tokens: int = 0
    """Tokens of the questions that were answered, as the endpoint counts them."""
    completion_tokens: int = 0
    """Tokens of the answers, read or not, as the endpoint counts them."""
    uncounted: int = 0
    """Answers of which the endpoint did not say the tokens; ``cost`` leaves them out."""
    cost: float = 0.0
    """What the tokens cost at the endpoint's prices."""
    reasons: Counter[str] = field(default_factory=Counter)
    """How often each reason kept a pair from being scored."""

    def add(self, answer: Answer, endpoint: Endpoint) -> None:
        """Count one answer."""
        if answer.prompt_tokens is None or answer.completion_tokens is None:
            self.uncounted += 1
            return
        self.prompt_tokens += answer.prompt_tokens
        self.completion_tokens += answer.completion_tokens
        self.cost += answer.cost(endpoint)


@dataclass(frozen=True)
class Answer:
    """One answer of the model."""

    text: str
    """What it said; empty when ``fault`` says why there is nothing to read."""
    prompt_tokens: int | None = None
    """Tokens of the question; None: not told."""
    completion_tokens: int | None = None
    """Tokens of the answer; None: not told."""
    fault: str = ""
    """Why it must not be read: cut off, filtered, refused, empty."""

    def cost(self, endpoint: Endpoint) -> float:
        """Return what it cost at the endpoint's prices; 0 where the tokens were not told."""
        asked, said = self.prompt_tokens or 0, self.completion_tokens or 0
        return (asked * endpoint.input_price + said * endpoint.output_price) / 1e6


class Client:
    """Asks one endpoint; an asynchronous context manager that belongs to one event loop."""

    def __init__(self, endpoint: Endpoint, usage: Usage | None = None) -> None:
        self.endpoint = endpoint
        self.usage = Usage() if usage is None else usage
        self._slots = asyncio.Semaphore(endpoint.concurrency)
        self._random = random.Random()
        self._quiet_until = 0.0

    async def __aenter__(self) -> Self:
        address = self.endpoint.address
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self.endpoint.key:
            headers["Authorization"] = f"Bearer {self.endpoint.key}"
        self._http = httpx2.AsyncClient(
            headers=headers,
            timeout=self.endpoint.timeout,
            limits=httpx2.Limits(max_connections=self.endpoint.concurrency),
            trust_env=address.host not in _LOCAL,  # no proxy stands between this machine and itself
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def ask(self, messages: Messages) -> Answer:
        """Return the model's answer to a conversation.

        Raises
        ------
        Unanswered
            When every attempt failed, or the endpoint refused in a way that another attempt cannot mend.
        """
        content = json.dumps({**self.endpoint.body(), "messages": list(messages)}).encode()
        for attempt in range(1, self.endpoint.attempts + 1):
            async with self._slots:
                await self._quiet()
                self.usage.requests += 1
                self.usage.retries += attempt > 1
                answer, fault, wait = await self._send(content, messages)
            if answer is not None:
                self.usage.add(answer, self.endpoint)
                return answer
            if attempt == self.endpoint.attempts:
                break
            if wait > self.endpoint.patience:
                raise Unanswered(
                    f"{fault}; the endpoint asks to wait {wait:.0f} s, more than the {self.endpoint.patience:g} s allowed"
                )
            now = asyncio.get_running_loop().time()
            self._quiet_until = max(self._quiet_until, now + wait)
            await asyncio.sleep(max(wait, self._pause(attempt)))
        raise Unanswered(f"{fault} ({self.endpoint.attempts} attempts)")

    async def _send(self, content: bytes, messages: Messages) -> tuple[Answer | None, str, float]:
        """Send one request: the answer, or what went wrong and for how many seconds the endpoint wants to be left alone."""
        limit = self.endpoint.timeout
        try:
            async with asyncio.timeout(limit):
                response = await self._http.post(self.endpoint.address, content=content)
        except (TimeoutError, httpx2.TimeoutException):
            return None, f"no answer within {limit:g} s", 0.0
        except httpx2.RequestError as error:
            return None, f"the connection to {self.endpoint.shown} failed ({type(error).__name__})", 0.0
        status = response.status_code
        if status == 200:
            answer = completion(response.content)
            return answer, "" if answer else "HTTP 200 without a completion in it", 0.0
        fault = f"HTTP {status} from {self.endpoint.shown}{self._said(response, messages)}"
        if status in _AGAIN or status >= 500:
            return None, fault, retry_after(response.headers.get("Retry-After", ""))
        if status == 401:
            fault += f"; check {KEY}"
        elif status == 404:
            fault += f"; check {URL} and {MODEL} ({self.endpoint.model})"
        elif "content_filter" in response.text or "content_policy" in response.text:
            fault = f"the endpoint filtered the request (HTTP {status})"
        raise Unanswered(fault, hopeless=status in _HOPELESS)

    def _said(self, response: httpx2.Response, messages: Messages) -> str:
        """Return what an error's body says, short and on one line.

        Some servers echo what they were sent: the key is taken out, and nothing is said that repeats part of a report.
        """
        try:
            body = json.loads(response.content)
            inner = body.get("error", body) if isinstance(body, dict) else body
            text = inner.get("message", "") if isinstance(inner, dict) else inner
        except (ValueError, RecursionError):
            text = ""
        text = str(text) if text else ""
        if self.endpoint.key:
            text = text.replace(self.endpoint.key, "[key]")
        text = " ".join(text.split())[:_EXCERPT].rstrip(".")
        sent = " ".join(" ".join(message["content"] for message in messages).split())
        if any(text[start : start + _ECHO] in sent for start in range(max(1, len(text) - _ECHO + 1))):
            return ""
        return f": {text}"

    async def _quiet(self) -> None:
        """Wait while the endpoint wants to be left alone."""
        loop = asyncio.get_running_loop()
        while (left := self._quiet_until - loop.time()) > 0:
            await asyncio.sleep(left + self._random.uniform(0.0, 0.1) * min(left, 1.0))

    def _pause(self, attempt: int) -> float:
        doubled = self.endpoint.backoff * 2.0 ** min(attempt - 1, 30)
        return min(self.endpoint.longest_wait, doubled) * self._random.uniform(0.5, 1.0)


def completion(content: bytes) -> Answer | None:
    """Return the answer in the body of a chat completion; None when the body is none.

    >>> completion(b'{"choices": [{"message": {"content": "Yes."}, "finish_reason": "length"}]}').fault
    'the answer was cut off at the limit of its length'
    >>> completion(b'{"choices": [') is None
    True
    """
    try:
        body = json.loads(content)
        choice = body["choices"][0]
        message = choice["message"]
        said, refusal, finish = message.get("content"), message.get("refusal"), choice.get("finish_reason")
    except (ValueError, RecursionError, KeyError, IndexError, TypeError, AttributeError):
        return None
    usage = body.get("usage")
    counts = usage if isinstance(usage, dict) else {}
    answer = Answer("", _tokens(counts.get("prompt_tokens")), _tokens(counts.get("completion_tokens")))
    if finish == "length":
        return replace(answer, fault="the answer was cut off at the limit of its length")
    if finish == "content_filter":
        return replace(answer, fault="the endpoint filtered the answer")
    if refusal:
        return replace(answer, fault="the judge refused to answer")
    if isinstance(said, list):  # content in parts, as the protocol also allows
        said = "".join(str(part.get("text") or "") for part in said if isinstance(part, dict))
    if not isinstance(said, str) or not said.strip():
        return replace(answer, fault="the answer is empty")
    return replace(answer, text=said)


def retry_after(value: str) -> float:
    """Return the seconds that a ``Retry-After`` header asks for, given in seconds or as a date; 0 when it says nothing.

    >>> retry_after("1.5"), retry_after("soon"), retry_after("Wed, 21 Oct 2015 07:28:00 GMT")
    (1.5, 0.0, 0.0)
    """
    try:
        seconds = float(value)
    except ValueError:
        try:
            until = email.utils.parsedate_to_datetime(value)
        except (ValueError, TypeError):
            return 0.0
        if until.tzinfo is None:
            until = until.replace(tzinfo=datetime.UTC)
        seconds = (until - datetime.datetime.now(datetime.UTC)).total_seconds()
    return max(0.0, seconds) if seconds == seconds else 0.0


def _tokens(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
