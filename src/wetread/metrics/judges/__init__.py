"""Judges: metrics for which a language model reads both reports and says what differs.

The judge is any endpoint that speaks OpenAI's chat completions: a hosted model, or a local server (vLLM, llama.cpp,
Ollama). ``WETREAD_JUDGE_URL``, ``WETREAD_JUDGE_MODEL`` and, where one is needed, ``WETREAD_JUDGE_KEY`` name it, or an
``Endpoint`` that is passed. Reports leave the machine when the endpoint is not on it.

- ``client``: requests with bounded concurrency, retries and time limits.
- ``judging``: pairs of reports to scores: cache, counting, progress.
- ``green``, ``errors``, ``crimson``: one metric each, with its prompt, its reader and its formula.

The prompts are ours, so a value is comparable only with values of the same judge model and the same prompt version; the
published numbers of these metrics were made with other prompts.
"""

from wetread.metrics.judges.client import Client, Endpoint, Unanswered, Usage
from wetread.metrics.judges.judging import Rubric, Unreadable, Verdict, judge, judge_async

__all__ = ["Client", "Endpoint", "Rubric", "Unanswered", "Unreadable", "Usage", "Verdict", "judge", "judge_async"]
