"""The documentation keeps its word: links lead somewhere, commands exist, code blocks are code."""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path
from urllib.parse import unquote

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
FENCE = re.compile(r"^(?P<mark>`{3,})(?P<lang>[^\n`]*)\n(?P<body>.*?)^(?P=mark)\s*$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[[^\]]*\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)|(?:src|href)=\"([^\"]+)\"")


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def blocks(page: Path) -> list[tuple[str, str]]:
    """Language and body of the fenced blocks of a page."""
    found = FENCE.finditer(page.read_text(encoding="utf-8"))
    return [(match["lang"].strip().split(" ")[0].lower(), match["body"]) for match in found]


def prose(page: Path) -> str:
    """The page without its fenced blocks and code spans."""
    return re.sub(r"`[^`\n]*`", "", FENCE.sub("", page.read_text(encoding="utf-8")))


def anchors(page: Path) -> set[str]:
    """Anchors of the headings, made as GitHub makes them."""
    headings = re.findall(r"^#{1,6}\s+(.*?)\s*#*$", FENCE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    plain = [re.sub(r"[^\w\- ]", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)).lower() for heading in headings]
    return {heading.replace(" ", "-") for heading in plain}


def command_lines() -> list[tuple[str, str]]:
    """Every ``wetread …`` line of the shell blocks, with its page; continued lines joined."""
    lines = []
    for page in PAGES:
        for language, body in blocks(page):
            if language in {"sh", "bash", "shell", "console", "zsh"}:
                for line in body.replace("\\\n", " ").splitlines():
                    command = line.strip().removeprefix("$ ")
                    if command.startswith("wetread "):
                        lines.append((name_of(page), command))
    return lines


@cache
def help_of(verbs: tuple[str, ...]) -> str:
    code = "import sys; from wetread.cli import main; sys.argv[0] = 'wetread'; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", code, *verbs, "--help"],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | {"COLUMNS": "200", "TERMINAL_WIDTH": "200", "NO_COLOR": "1", "TERM": "dumb"},
    )
    return done.stdout if done.returncode == 0 else ""


def verbs_of(words: list[str]) -> tuple[str, ...]:
    """The leading words that name a command: ``train sft`` of ``train sft --data phantom``."""
    groups = {"train": 2, "rexrank": 2, "data": 2}
    return tuple(words[: groups.get(words[0], 1)]) if words and not words[0].startswith("-") else ()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for match in LINK.finditer(prose(page)):
        target = match.group(1) or match.group(2)
        if re.match(r"[a-z][a-z0-9+.-]*:", target):
            continue  # another site; nothing is fetched in tests
        file, _, anchor = target.partition("#")
        there = (page.parent / unquote(file)).resolve() if file else page
        if not there.exists() or (anchor and there.suffix == ".md" and anchor not in anchors(there)):
            broken.append(target)
    assert broken == []


def test_commands_exist_with_the_options_that_are_shown() -> None:
    wrong = []
    for page, command in command_lines():
        words = shlex.split(command, comments=True)[1:]
        options = {word.split("=")[0] for word in words if word.startswith("--")} - {"--help", "--debug"}
        help_text = help_of(verbs_of(words))
        missing = [option for option in sorted(options) if not re.search(rf"(?<![\w-]){option}(?![\w-])", help_text)]
        if not help_text or missing:
            wrong.append(f"{page}: {command}: {'no such command' if not help_text else missing}")
    assert wrong == []


@pytest.mark.parametrize(
    "page", [page for page in PAGES if any(lang == "python" for lang, _ in blocks(page))], ids=name_of
)
def test_python_blocks_run(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for language, body in blocks(page):
        if language == "python":
            exec(compile(body, name_of(page), "exec"), {"__name__": "__main__"})


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_code_blocks_are_code(page: Path) -> None:
    readers = {"python": ast.parse, "json": json.loads, "yaml": yaml.safe_load}
    for language, body in blocks(page):
        if language in readers:
            readers[language](body)
