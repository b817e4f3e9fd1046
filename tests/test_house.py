"""The house rules that neither ruff, mypy nor import-linter can hold: budgets, light imports, what no file may say."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "wetread"
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))

FILE_LINES = 800
FUNCTION_LINES = 120
PACKAGE_NAMES = 40
CONFIG_FIELDS = 20

# Exceptions, by name and with the reason: ``"path": "why"`` or ``"path::function": "why"``.
LONG_FILES: dict[str, str] = {}
LONG_FUNCTIONS: dict[str, str] = {}
CROWDED_PACKAGES: dict[str, str] = {}

HEAVY = ("torch", "transformers", "trl", "peft", "datasets", "pydicom", "PIL", "pandas", "highdicom", "reportlab")
FREE_OF_TORCH = ("records", "knowledge", "export", "metrics", "rewards", "review", "studies")

Function = ast.FunctionDef | ast.AsyncFunctionDef


def python_files(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=name_of(path))


def lines_of(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


@cache
def project_files() -> tuple[Path, ...]:
    """Files that are or would be committed; without git, everything that is not hidden or built."""
    command = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    try:
        listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\0")
        paths = [ROOT / name for name in listed if name]
    except (OSError, subprocess.CalledProcessError):
        skip = {".venv", ".git", "runs", "build", "dist", "htmlcov", "__pycache__"}
        paths = [path for path in ROOT.rglob("*") if not skip & set(path.relative_to(ROOT).parts)]
    return tuple(sorted(path for path in paths if path.is_file()))


def project_texts() -> Iterator[tuple[str, str]]:
    """Name and text of every text file of the project."""
    for path in project_files():
        try:
            yield name_of(path), path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # a picture or another binary file


def run_python(*arguments: str, cwd: Path | None = None, timeout: float = 600) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=timeout,
        env=os.environ | {"PYTHONWARNINGS": "ignore", "COLUMNS": "120"},
    )


# ---- budgets ---------------------------------------------------------------------------------------------------------


def test_files_stay_short() -> None:
    files = python_files("src", "tests", "bench", "examples")
    long = {name_of(path): lines_of(path) for path in files if lines_of(path) > FILE_LINES}
    assert {name: n for name, n in long.items() if name not in LONG_FILES} == {}
    assert set(LONG_FILES) <= set(long), "an exception that is needed no more"


def test_functions_stay_short() -> None:
    long = {}
    for path in python_files("src", "tests", "bench", "examples"):
        for node in ast.walk(tree_of(path)):
            if isinstance(node, Function):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > FUNCTION_LINES:
                    long[f"{name_of(path)}::{node.name}"] = length
    assert {name: n for name, n in long.items() if name not in LONG_FUNCTIONS} == {}
    assert set(LONG_FUNCTIONS) <= set(long), "an exception that is needed no more"


def public_names(tree: ast.Module) -> set[str]:
    names = set()
    for node in tree.body:
        if isinstance(node, ast.Import | ast.ImportFrom) and getattr(node, "module", "") != "__future__":
            names |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, Function | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign) and any(getattr(target, "id", "") == "__all__" for target in node.targets):
            names |= set(ast.literal_eval(node.value))
    return {name for name in names if not name.startswith("_")}


def test_packages_export_few_names() -> None:
    counts = {name_of(path): len(public_names(tree_of(path))) for path in sorted(SOURCE.rglob("__init__.py"))}
    assert {name: n for name, n in counts.items() if n > PACKAGE_NAMES and name not in CROWDED_PACKAGES} == {}


# ---- documentation and types in the code -----------------------------------------------------------------------------


def is_dataclass(node: ast.ClassDef) -> bool:
    return any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list)


def public_classes(path: Path) -> list[ast.ClassDef]:
    return [node for node in tree_of(path).body if isinstance(node, ast.ClassDef) and not node.name.startswith("_")]


def public_functions(path: Path) -> Iterator[tuple[str, Function]]:
    """Functions of the module and methods of its public classes, without private and double-underscore names."""
    for node in tree_of(path).body:
        if isinstance(node, Function) and not node.name.startswith("_"):
            yield node.name, node
    for owner in public_classes(path):
        for node in owner.body:
            if isinstance(node, Function) and not node.name.startswith("_"):
                yield f"{owner.name}.{node.name}", node


def test_public_code_is_documented() -> None:
    bare = [name_of(path) for path in python_files("src") if not ast.get_docstring(tree_of(path)) and lines_of(path)]
    for path in python_files("src"):
        bare += [f"{name_of(path)}::{node.name}" for node in public_classes(path) if not ast.get_docstring(node)]
        bare += [f"{name_of(path)}::{name}" for name, node in public_functions(path) if not ast.get_docstring(node)]
    assert bare == []


def test_public_code_is_annotated() -> None:
    bare = []
    for path in python_files("src"):
        for name, node in public_functions(path):
            arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            missing = [one.arg for one in arguments if one.annotation is None and one.arg not in ("self", "cls")]
            if missing or node.returns is None:
                bare.append(f"{name_of(path)}::{name}({', '.join(missing)})")
    assert bare == []


def test_every_field_of_a_public_dataclass_has_its_docstring() -> None:
    bare = []
    for path in python_files("src"):
        for owner in filter(is_dataclass, public_classes(path)):
            for node, after in zip(owner.body, [*owner.body[1:], None], strict=True):
                said = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
                if isinstance(node, ast.AnnAssign) and not said and "ClassVar" not in ast.unparse(node.annotation):
                    field = ast.unparse(node.target)
                    bare += [] if field.startswith("_") else [f"{name_of(path)}::{owner.name}.{field}"]
    assert bare == []


def test_configs_stay_small() -> None:
    large = {}
    for path in python_files("src"):
        for owner in filter(is_dataclass, public_classes(path)):
            fields = [node for node in owner.body if isinstance(node, ast.AnnAssign)]
            if owner.name.endswith("Config") and len(fields) > CONFIG_FIELDS:
                large[f"{name_of(path)}::{owner.name}"] = len(fields)
    assert large == {}


# ---- what no file may say --------------------------------------------------------------------------------------------

# Written in pieces, so that this file does not find itself.
MACHINE_PATH = re.compile(r"(?<![\w.:/*{}$-])/" + r"(?:work|root|tmp|home|Users|var/folders)" + r"/[\w.-]+")
IDENTIFIERS = {
    "a person's name as DICOM writes it": re.compile(r"\b[A-Z][A-Za-z]{1,30}" + r"\^[A-Z][A-Za-z]{0,30}"),
    "a record number": re.compile(r"(?i)\b(?:MRN|medical record number)\b" + r"\W{0,4}\d{5,}"),
    "a social security number": re.compile(r"\b\d{3}-" + r"\d{2}-\d{4}\b"),
    "a MIMIC subject or study": re.compile(r"\b(?:p1\d{7}|s5\d{7})" + r"\b"),
}
INVENTED = re.compile(r"(?i)phantom|nobody|invented|example|test|anon|doe|secret|family|surname|patient")
"""Names that say themselves that they are nobody's."""


def test_no_file_names_a_path_of_one_machine() -> None:
    found = [
        f"{name}:{text.count(chr(10), 0, match.start()) + 1}: {match.group()}"
        for name, text in project_texts()
        for match in MACHINE_PATH.finditer(text)
    ]
    assert found == []


def test_no_source_file_is_ignored_by_git() -> None:
    """An ignore rule such as ``runs/`` without a leading slash would drop the room of that name from every clone."""
    seen = set(project_files())
    assert [name_of(path) for path in python_files("src", "tests", "bench", "examples") if path not in seen] == []


@pytest.mark.parametrize("kind", sorted(IDENTIFIERS))
def test_no_file_holds_what_looks_like_an_identifier_of_a_patient(kind: str) -> None:
    found = [
        f"{name}:{text.count(chr(10), 0, match.start()) + 1}: {match.group()}"
        for name, text in project_texts()
        for match in IDENTIFIERS[kind].finditer(text)
        if not INVENTED.search(match.group())
    ]
    assert found == []


# ---- light imports, running examples ---------------------------------------------------------------------------------


def loaded_after(statement: str, names: tuple[str, ...]) -> list[str]:
    code = f"import sys\n{statement}\nprint(*[name for name in {names!r} if name in sys.modules])"
    done = run_python("-c", code)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_the_package_and_its_command_line_import_nothing_heavy() -> None:
    assert loaded_after("import wetread", HEAVY) == []
    assert loaded_after("import wetread.cli", HEAVY) == []


def test_rooms_without_torch_stay_without_it() -> None:
    for room in FREE_OF_TORCH:
        assert loaded_after(f"import wetread.{room}", ("torch", "transformers", "trl")) == [], room


def test_there_are_examples() -> None:
    assert EXAMPLES, "examples/ holds at least one file that runs as it is"


@pytest.mark.slow
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_every_example_runs(path: Path, tmp_path: Path) -> None:
    done = run_python(str(path), cwd=tmp_path)
    assert done.returncode == 0, f"{path.name} ended with {done.returncode}:\n{done.stderr[-2000:]}"
    assert done.stdout.strip(), f"{path.name} shows nothing"
