"""Pairs of reports to scores by way of a judge: each distinct pair is asked once, cached, counted, and never made up.

A judgement that failed, was filtered, cut off or cannot be read is ``Score(value=None)`` with its reason. It is counted
in ``Usage`` and is not cached, so that the next run asks again. What is cached are numbers by a hash of judge model,
prompt and pair: no report and no sentence of an answer is on the disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import re
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn, TypeVar

import numpy as np

from wetread.errors import WetreadError
from wetread.metrics.cache import Cache, Features
from wetread.metrics.encoder import default_cache
from wetread.metrics.entry import check_lengths
from wetread.metrics.judges.client import Answer, Client, Endpoint, Unanswered, Usage
from wetread.metrics.weights import Precision
from wetread.records import Report, Score

Progress = Callable[[int, int, Usage], None]
"""Told after each distinct pair: how many are done, of how many, and what it cost so far."""

EMPTY_REFERENCE = "the reference report is empty"
_VALUE = "value"
_BLANK = re.compile(r"\{(reference|draft)\}")
_TAG = re.compile(r"<(?=\s*/?\s*(?:(?:reference|draft)_)?report|/?s>|\|)", re.IGNORECASE)
_THOUGHT = re.compile(r"</(?:think|thinking|reasoning)>", re.IGNORECASE)
_THINKING = re.compile(r"\s*<(?:think|thinking|reasoning)>", re.IGNORECASE)
_FENCE = re.compile(r"```(?:json)?[ \t]*\n(.*)\n[ \t]*```", re.DOTALL | re.IGNORECASE)
_books: ContextVar[dict[str, Usage] | None] = ContextVar("books", default=None)
T = TypeVar("T")


class Unreadable(WetreadError, ValueError):
    """A judge's answer does not hold what was asked for; the text says what is wrong with it."""


@dataclass(frozen=True)
class Verdict:
    """What was read from one answer."""

    value: float
    """The metric's value of this pair."""
    counts: Mapping[str, float] = field(default_factory=dict)
    """What the value is made of."""


@dataclass(frozen=True)
class Rubric:
    """What a judge is asked, and how its answer is read."""

    metric: str
    """Name of the metric."""
    version: str
    """Changes with the prompt or the reader, when any number may change."""
    system: str
    """Instructions that are the same for all pairs."""
    user: str
    """The question; ``{reference}`` and ``{draft}`` are where the texts go."""
    read: Callable[[str], Verdict]
    """Module-level reader of an answer; raises ``Unreadable`` where it is not complete and clear."""
    empty_draft: Verdict | None = None
    """The verdict on a draft without text, where the formula fixes it; None: the judge is asked."""

    @property
    def signature(self) -> str:
        """Metric, version and a fingerprint of the prompt."""
        prompt = hashlib.blake2b(f"{self.system}\0{self.user}".encode(), digest_size=8).hexdigest()
        return f"{self.metric}|v{self.version}|prompt {prompt}"

    def identity(self, weights: str | None = None, precision: Precision = "fp32") -> tuple[str, ...]:
        """Return the judge that the environment names, with 8 hex digits for what it is asked: ``("judge gpt-x/1a2b3c4d",)``.

        ``weights`` and ``precision`` play no part. ``MissingError`` when no endpoint is named.
        """
        endpoint = Endpoint.from_environment(self.metric)
        asked = {name: value for name, value in endpoint.body().items() if name != "model"}
        return (f"judge {_plain_name(endpoint.model)}/{self.digits(json.dumps(asked, sort_keys=True))}",)

    def digits(self, more: str = "") -> str:
        """Return 8 hex digits for the signature and whatever else the answers depend on."""
        return hashlib.blake2b(f"{self.signature}|{more}".encode(), digest_size=4).hexdigest()

    def messages(self, draft: str, reference: str) -> list[dict[str, str]]:
        """Return the conversation about one pair.

        The texts stand between tags that they cannot close themselves, and hold no marks that end a turn of a chat: a
        draft that tells the judge what to answer stays a draft. NUL becomes a space, half a surrogate pair a question mark.
        """
        texts = {"draft": quoted(draft), "reference": quoted(reference)}
        user = _BLANK.sub(lambda blank: texts[blank.group(1)], self.user)
        turns = (("system", self.system), ("user", user))
        return [{"role": role, "content": content} for role, content in turns if content]


def judge(
    rubric: Rubric,
    drafts: Sequence[Report],
    references: Sequence[Report],
    endpoint: Endpoint | None = None,
    *,
    cache: Cache | None = None,
    progress: Progress | None = None,
    usage: Usage | None = None,
) -> list[Score]:
    """Judge drafts against references of the same order and length; also inside a running event loop, which then waits.

    Parameters
    ----------
    rubric
        What is asked.
    drafts, references
        The reports. An empty reference is not scored; an empty draft gets what ``rubric.empty_draft`` says.
    endpoint
        Who is asked; None: the one that the environment names, looked up only when a question is left.
    cache
        Where judgements are kept; None: the file that ``default_cache`` names.
    progress
        Told of each pair, in the thread that asks.
    usage
        Counts requests, tokens and cost.

    Raises
    ------
    UsageError
        When the lengths differ.
    MissingError
        When no endpoint is named.
    """
    books = _books.get()
    if usage is None and books is not None:
        usage = books.setdefault(rubric.metric, Usage())
    return run(judge_async(rubric, drafts, references, endpoint, cache=cache, progress=progress, usage=usage))


@contextlib.contextmanager
def counting() -> Iterator[dict[str, Usage]]:
    """Count what ``judge`` does within, by metric, where no ``usage`` is given: for callers that know metrics by name only."""
    books: dict[str, Usage] = {}
    token = _books.set(books)
    try:
        yield books
    finally:
        _books.reset(token)


async def judge_async(
    rubric: Rubric,
    drafts: Sequence[Report],
    references: Sequence[Report],
    endpoint: Endpoint | None = None,
    *,
    cache: Cache | None = None,
    progress: Progress | None = None,
    usage: Usage | None = None,
) -> list[Score]:
    """Do what ``judge`` does, awaited. When it is cancelled, what was judged so far is in the cache."""
    check_lengths(drafts, references)
    counted = Usage() if usage is None else usage
    pairs = [(draft.text, reference.text) for draft, reference in zip(drafts, references, strict=True)]
    known: dict[tuple[str, str], Score] = {}
    for draft, reference in dict.fromkeys(pairs):
        if not reference:
            known[draft, reference] = Score(rubric.metric, None, EMPTY_REFERENCE)
        elif not draft and rubric.empty_draft is not None:
            known[draft, reference] = _score(rubric, rubric.empty_draft)
    left = [pair for pair in dict.fromkeys(pairs) if pair not in known]
    if left:
        asked = Endpoint.from_environment(rubric.metric) if endpoint is None else endpoint
        bench = _Bench(rubric, asked, default_cache() if cache is None else cache, progress, counted)
        known |= await bench.judge(left)
    for pair in pairs:
        counted.judged += known[pair].value is not None
        counted.unscored += known[pair].value is None
        if known[pair].value is None:
            counted.reasons[known[pair].reason] += 1
    return [replace(known[pair], counts=dict(known[pair].counts)) for pair in pairs]


class _Bench:
    """One call's questions, at most ``endpoint.concurrency`` of them under way."""

    def __init__(
        self, rubric: Rubric, endpoint: Endpoint, cache: Cache | None, progress: Progress | None, usage: Usage
    ) -> None:
        self.rubric, self.endpoint, self.cache, self.progress, self.usage = rubric, endpoint, cache, progress, usage
        self.signature = f"{rubric.signature}|{json.dumps(endpoint.body(), sort_keys=True)}"
        self.hopeless = ""
        self.found: dict[tuple[str, str], Score] = {}
        self.total = 0

    async def judge(self, pairs: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Score]:
        self.total = len(pairs)
        keys = {pair: json.dumps(pair) for pair in pairs}
        stored = self.cache.get(self.signature, list(keys.values())) if self.cache else {}
        for pair in pairs:
            if keys[pair] in stored:
                self.usage.cached += 1
                self._done(pair, _score(self.rubric, _from_features(stored[keys[pair]])))
        left = iter([pair for pair in pairs if pair not in self.found])
        async with Client(self.endpoint, self.usage) as client:
            workers = [asyncio.create_task(self._work(client, left)) for _ in range(self.endpoint.concurrency)]
            try:
                await asyncio.gather(*workers)
            finally:
                for worker in workers:
                    worker.cancel()
                await asyncio.gather(*workers, return_exceptions=True)
        return self.found

    async def _work(self, client: Client, pairs: Iterator[tuple[str, str]]) -> None:
        for draft, reference in pairs:
            try:
                verdict = await self._ask(client, draft, reference)
                score = _score(self.rubric, verdict)
            except (Unanswered, Unreadable) as error:
                score = Score(self.rubric.metric, None, str(error))
            self._done((draft, reference), score)

    async def _ask(self, client: Client, draft: str, reference: str) -> Verdict:
        if self.hopeless:
            raise Unanswered(self.hopeless)
        try:
            answer = await client.ask(self.rubric.messages(draft, reference))
        except Unanswered as error:
            if error.hopeless:
                self.hopeless = str(error)
            raise
        if answer.fault:
            raise Unanswered(answer.fault)
        verdict = read_answer(self.rubric, answer.text)
        verdict = replace(verdict, counts={**verdict.counts, **_token_counts(answer)})
        if self.cache is None:
            return verdict
        key = json.dumps((draft, reference))
        self.cache.put(self.signature, {key: _to_features(verdict)})
        # Another process may have been first; then its judgement is everybody's.
        kept = self.cache.get(self.signature, [key]).get(key)
        return verdict if kept is None else _from_features(kept)

    def _done(self, pair: tuple[str, str], score: Score) -> None:
        self.found[pair] = score
        if self.progress is not None:
            self.progress(len(self.found), self.total, self.usage)


def read_answer(rubric: Rubric, text: str) -> Verdict:
    """Return what a rubric reads in an answer, once reasoning before it is taken away (``Unreadable`` when nothing)."""
    spoken = _THOUGHT.split(text)[-1]
    if _THINKING.match(spoken):
        raise Unreadable("the judge was still reasoning when its answer ended")
    return rubric.read(spoken)


def read_json(text: str) -> Any:
    """Return the JSON of an answer that is nothing but JSON, with or without one code fence around it.

    A name that occurs twice in one object, NaN and infinity are refused (``Unreadable``): nothing is repaired.
    """
    stripped = text.strip()
    fenced = _FENCE.fullmatch(stripped)
    try:
        return json.loads(
            fenced.group(1) if fenced else stripped, object_pairs_hook=_object, parse_constant=_refuse_constant
        )
    except RecursionError:
        raise Unreadable("the answer is no JSON: it is nested too deeply") from None
    except Unreadable:
        raise
    except ValueError as error:
        what = error.msg if isinstance(error, json.JSONDecodeError) else type(error).__name__
        raise Unreadable(f"the answer is no JSON: {what}") from None


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end and return what it returns, whether or not this thread has a running event loop.

    With one, the work runs in a thread of its own; an interrupt while waiting cancels it.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    outcome: list[T] = []
    failure: list[BaseException] = []
    started, ended = threading.Event(), threading.Event()
    stop: list[Callable[[], object]] = []

    async def main() -> T:
        task = asyncio.current_task()
        loop = asyncio.get_running_loop()
        if task is not None:
            stop.append(lambda: loop.call_soon_threadsafe(task.cancel))
        started.set()
        return await work

    def thread() -> None:
        try:
            outcome.append(asyncio.run(main()))
        except BaseException as error:
            failure.append(error)
        finally:
            started.set()
            ended.set()

    worker = threading.Thread(target=thread, name="wetread judge", daemon=True)
    worker.start()
    try:
        ended.wait()  # not join: an interrupted join takes the thread for ended
    except BaseException:
        started.wait()
        for cancel in stop:
            with contextlib.suppress(RuntimeError):  # its loop has just ended
                cancel()
        ended.wait()
        raise
    finally:
        worker.join()
    if failure:
        raise failure[0]
    return outcome[0]


def _plain_name(model: str) -> str:
    """Return a model's name for a signature; of a path or an address, as some servers name their model, the last part."""
    if model.startswith(("/", "~", ".", "\\")) or "://" in model or model[1:3] in (":\\", ":/"):
        model = re.split(r"[/\\]", model.rstrip("/\\"))[-1]
    return re.sub(r"[|,\s\x00-\x1f]+", "_", model) or "unnamed"


def quoted(text: str) -> str:
    """Return a report that can stand between ``report``, ``reference_report`` or ``draft_report`` tags and cannot close them."""
    clean = text.replace("\0", " ").encode("utf-8", "replace").decode()
    return _TAG.sub("(", clean) or "(no text)"


def _score(rubric: Rubric, verdict: Verdict) -> Score:
    return Score(rubric.metric, verdict.value, counts=dict(sorted(verdict.counts.items())))


def _token_counts(answer: Answer) -> dict[str, float]:
    told = {"prompt_tokens": answer.prompt_tokens, "completion_tokens": answer.completion_tokens}
    return {name: float(count) for name, count in told.items() if count is not None}


def _to_features(verdict: Verdict) -> Features:
    named = {_VALUE: verdict.value, **{f"count {name}": count for name, count in verdict.counts.items()}}
    return {name: np.array([number], dtype=np.float64) for name, number in named.items()}


def _from_features(features: Features) -> Verdict:
    numbers = {name: float(array[0]) for name, array in features.items()}
    counts = {name.removeprefix("count "): number for name, number in numbers.items() if name != _VALUE}
    return Verdict(numbers[_VALUE], counts)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Unreadable("the answer is no JSON: a name occurs twice in one object")
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise Unreadable(f"the answer is no JSON: {name} is no number")
