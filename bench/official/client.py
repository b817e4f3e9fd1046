"""The official code as a persistent process: made, started, asked and stopped from wetread's own interpreter."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


class Official:
    """The official code in its interpreter; use it in a ``with`` statement.

    Parameters
    ----------
    python
        Interpreter of an environment with ``requirements.txt``.
    place
        Folder that ``checkpoints.lay_out`` made.
    threads
        Threads that it computes with.
    """

    def __init__(self, python: Path, place: Path, threads: int) -> None:
        count = str(threads)
        env = {
            **os.environ, "XDG_CACHE_HOME": str((place / "cache").resolve()), "HF_HUB_OFFLINE": "1",
            "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": count, "MKL_NUM_THREADS": count,
        }  # fmt: skip
        self.cpu = 0.0
        self._log = (place / "worker.log").open("w")
        self._process = subprocess.Popen(
            [str(python.absolute()), str((HERE / "worker.py").resolve()), count],
            cwd=place, env=env, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log,
        )  # fmt: skip

    def __call__(self, do: str, **given: Any) -> Any:
        """Return what ``worker.py`` answers (``RuntimeError`` with what went wrong there); ``cpu`` is its processor seconds."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps({"do": do, **given}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the official code stopped; see {self._log.name}")
        answer = json.loads(line)
        if "error" in answer:
            raise RuntimeError(f"the official code: {answer['error']}; see {self._log.name}")
        self.cpu = float(answer["cpu"])
        return answer["answer"]

    def __enter__(self) -> Official:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()
        self._log.close()


def make(folder: Path) -> Path:
    """Return the interpreter of the official code's environment; pip fills ``folder`` when it is not there."""
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", "-r", str(HERE / "requirements.txt")], check=True)
    if subprocess.run([str(python), "-c", "import radgraph, f1chexbert, bert_score"], capture_output=True).returncode:
        sys.exit(f"{python} lacks the official packages; remove {folder} and run again")
    return python
