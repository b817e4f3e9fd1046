"""Report texts from plain text files, and what is refused of any file of text."""

from __future__ import annotations

import stat
import sys
from collections.abc import Iterable, Mapping
from io import BytesIO
from pathlib import Path

from wetread.errors import MissingError, StudyError, UsageError, nearest

BOM = "\ufeff"
"""The byte order mark that some programs put before UTF-8."""

_HEAD = 4096
_LONGEST_NAME = 120


def read_text(path: Path) -> str:
    """Return the text of a file, or of standard input for ``-``, character for character.

    Line breaks stay as they are; a byte order mark becomes a space. Positions in the result are thus positions in the file.

    Raises
    ------
    MissingError
        There is no such file.
    UsageError
        It is a folder.
    StudyError
        It is empty, binary or not UTF-8.
    """
    if str(path) == "-":
        name, data = "standard input", sys.stdin.buffer.read()
    else:
        name = path.name
        check(path, " Name one, or - for standard input.")
        try:
            data = path.read_bytes()
        except OSError as error:
            raise StudyError(f"{name}: cannot be read ({error.strerror or error}).") from error
    _refuse_binary(name, data)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise not_utf8(name, BytesIO(data)) from None
    if not text.strip(BOM + " \t\r\n"):
        raise empty(name)
    return " " + text[1:] if text.startswith(BOM) else text


def check(path: Path, advice: str = " Name one.") -> int:
    """Return the size of a file in bytes; ``advice`` ends the message where there is none.

    Raises
    ------
    MissingError
        There is no such file.
    UsageError
        It is a folder or no regular file.
    StudyError
        It is empty, or its beginning is plainly no text in UTF-8.
    """
    name = path.name
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise _missing(path, error, advice) from error
    if not stat.S_ISREG(mode):
        raise UsageError(f"{name or path} is {'a folder' if stat.S_ISDIR(mode) else 'no regular file'}; name one file.")
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError as error:
        raise StudyError(f"{name}: cannot be read ({error.strerror or error}).") from error
    if not head:
        raise empty(name)
    _refuse_binary(name, head)
    return path.stat().st_size


def keep_apart(outputs: Mapping[str, Path | None], inputs: Iterable[Path]) -> None:
    """Refuse to write over a file that is read, or two outputs into one file.

    Parameters
    ----------
    outputs
        Option to the file that it writes; None and ``-`` write none.
    inputs
        Files that are read.

    Raises
    ------
    UsageError
        Names the option.
    """
    read = list(inputs)
    seen: dict[Path, str] = {}
    for option, path in outputs.items():
        if path is None or str(path) == "-":
            continue
        if path.exists() and any(one.exists() and path.samefile(one) for one in read):
            raise UsageError(f"{option} {path.name} is the file that is read; name another.")
        other = seen.setdefault(path.resolve(), option)
        if other != option and (path.is_file() or not path.exists()):
            raise UsageError(f"{option} and {other} both write {path.name}; name two files.")


def _missing(path: Path, error: OSError, advice: str) -> MissingError:
    try:
        near = nearest(path.name, [entry.name for entry in path.absolute().parent.iterdir()])
    except OSError:
        near = ""
    shown = str(path) if len(str(path)) <= _LONGEST_NAME else str(path)[:_LONGEST_NAME] + "…"
    why = "" if isinstance(error, FileNotFoundError) else f" ({error.strerror})"
    return MissingError(f"there is no file {shown!r}{why}.{near}{advice}")


def _refuse_binary(name: str, data: bytes) -> None:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise StudyError(f"{name}: UTF-16; only UTF-8 is read, save it as that.")
    if b"\0" in data:
        raise StudyError(f"{name}: a binary file; only text in UTF-8 is read, convert it to that.")


def not_utf8(name: str, lines: Iterable[bytes]) -> StudyError:
    """Return the error for the first of ``lines`` that is not UTF-8."""
    for number, line in enumerate(lines, start=1):
        try:
            line.decode("utf-8")
        except UnicodeDecodeError as error:
            return StudyError(f"{name}, line {number}: not UTF-8 (byte 0x{line[error.start]:02x}); save it as UTF-8.")
    return StudyError(f"{name}: not UTF-8; save it as UTF-8.")


def empty(name: str) -> StudyError:
    """Return the error for a file with nothing in it."""
    return StudyError(f"{name} is empty; a report must be in it.")
