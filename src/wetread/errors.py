"""The exception tree and the exit codes of the command line.

    WetreadError                exit 1   something went wrong with an item or a run
    ├── UsageError (ValueError) exit 2   the command, an option or a config cannot be used as given
    │   └── ConfigError         exit 2   an unknown or out-of-range config key
    ├── MissingError            exit 3   a model, weights, an extra or a file that is needed is absent
    ├── StudyError (ValueError) exit 1   a file or study cannot be read; names the file and the DICOM tag or column
    │   └── Refused             exit 1   readable, but not what this model may draft (wrong anatomy, modality, colour)
    ├── KnowledgeError          exit 1   the knowledge file is wrong; names file, line and what is allowed
    └── RunError                exit 1   the run folder belongs to another config, or cannot be written

Every message is one line: what was found, what is allowed, what to do. Messages never hold patient identifiers.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

EXIT_OK = 0
EXIT_SOME_FAILED = 1
EXIT_USAGE = 2
EXIT_MISSING = 3
EXIT_INTERRUPTED = 130


class WetreadError(Exception):
    """Base of every error that wetread raises on purpose; its text is meant for the user."""

    exit_code: int = EXIT_SOME_FAILED


class UsageError(WetreadError, ValueError):
    """The command or one of its options cannot be used as given."""

    exit_code = EXIT_USAGE


class ConfigError(UsageError):
    """A config key is unknown, of the wrong type or out of range."""


class MissingError(WetreadError):
    """Something that is needed is not there: a model, weights, an optional extra, an input file."""

    exit_code = EXIT_MISSING


class StudyError(WetreadError, ValueError):
    """A file or a study cannot be read; the message names the file and the DICOM tag or column."""


class Refused(StudyError):
    """A study that can be read but must not be drafted: wrong anatomy, modality or kind of picture."""


class KnowledgeError(WetreadError, ValueError):
    """A knowledge file is wrong; the message names the file, the line and what is allowed."""


class RunError(WetreadError):
    """A run folder belongs to another config, is damaged, or cannot be written."""


class WetreadWarning(UserWarning):
    """Base of every warning that wetread gives."""


class GuardWarning(WetreadWarning):
    """A guard of a training found something that is worth a look."""


def nearest(word: str, allowed: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the allowed name nearest to ``word``, or an empty string.

    >>> nearest("serd", ["seed", "epochs"])
    " Did you mean 'seed'?"
    >>> nearest("zzz", ["seed"])
    ''
    """
    close = difflib.get_close_matches(word, list(allowed), n=1, cutoff=0.5)
    return f" Did you mean {close[0]!r}?" if close else ""
