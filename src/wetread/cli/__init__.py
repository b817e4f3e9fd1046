"""The commands. Nothing heavy is imported until a command needs it, so ``wetread --help`` answers at once.

Exit codes: 0 all done, 1 some items refused or failed, 2 usage, 3 something needed is missing, 130 interrupted.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence
from typing import Any

import typer

import wetread
from wetread.cli import (
    compare,
    data,
    demo,
    draft,
    evaluate,
    explain,
    label,
    phantom,
    reflect,
    rexrank,
    score,
    traces,
    train,
)
from wetread.errors import EXIT_INTERRUPTED, EXIT_OK, EXIT_SOME_FAILED, EXIT_USAGE, WetreadError, WetreadWarning

_INTERRUPTED = "interrupted; what a run folder holds is kept. The same command with the same --out continues there."
_LAUNCHED = "WETREAD_SAID"
"""Variable that marks one of several processes, see ``wetread.cli.processes``."""
_UsageError: type[Exception] = typer.BadParameter.__bases__[0]
"""Click's base of usage errors, by way of typer, which may carry a click of its own."""

app = typer.Typer(
    name="wetread",
    help="Drafts radiology reports, and trains, scores and reviews the models that draft them. "
    "A research tool: every draft is for a radiologist to verify.",
    rich_markup_mode=None,  # plain help: the rich one costs a quarter of a second at every start
    add_completion=False,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
)
app.command("compare")(compare.run)
app.command("demo")(demo.run)
app.command("draft")(draft.run)
app.command("evaluate")(evaluate.run)
app.command("explain")(explain.run)
app.command("label")(label.run)
app.command("phantom")(phantom.run)
app.command("reflect")(reflect.run)
app.command("score")(score.run)
app.command("traces")(traces.run)
app.add_typer(data.app, name="data")
app.add_typer(rexrank.app, name="rexrank")
app.add_typer(train.app, name="train")


@app.callback(invoke_without_command=True)
def _root(
    version: bool = typer.Option(False, "--version", help="Print the version and exit.", is_eager=True),
    debug: bool = typer.Option(False, "--debug", help="Show the traceback of an error."),
) -> None:
    if debug:
        os.environ["WETREAD_DEBUG"] = "1"
    if version:
        typer.echo(f"wetread {wetread.__version__}")
        raise typer.Exit


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code; an error is one line on standard error."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if "--debug" in given:  # accepted anywhere, since it is asked for after something went wrong
        given = ["--debug", *(one for one in given if one != "--debug")]
    if _LAUNCHED in os.environ:
        from wetread.cli import processes

        processes.follow()
    plain = warnings.formatwarning

    def in_a_line(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> str:
        return (
            f"wetread: {message}\n"
            if issubclass(category, WetreadWarning)
            else plain(message, category, *where, **more)
        )

    warnings.formatwarning = in_a_line
    sys.exit(_run(given))


def _run(arguments: list[str]) -> int:
    try:
        code = app(arguments, standalone_mode=False)
        if code == EXIT_INTERRUPTED:  # typer turns Ctrl-C into this code by itself
            return _fail(_INTERRUPTED, EXIT_INTERRUPTED)
        return code if isinstance(code, int) else EXIT_OK
    except WetreadError as error:
        return _fail(str(error), error.exit_code)
    except typer.Exit as error:
        return error.exit_code
    except _UsageError as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # a bare `wetread` shows what there is
            sys.stderr.write(f"{error.format_message()}\n")  # type: ignore[attr-defined]
            return EXIT_USAGE
        context = getattr(error, "ctx", None)
        where = f" See `{context.command_path} --help`." if context else ""
        said = error.format_message() if hasattr(error, "format_message") else str(error)
        return _fail(f"{' '.join(said.split())}{where}", EXIT_USAGE)
    except (KeyboardInterrupt, typer.Abort):
        return _fail(_INTERRUPTED, EXIT_INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader of the pipe has left
        return EXIT_SOME_FAILED
    except OSError as error:
        if _debug():
            raise
        return _fail(
            f"cannot read or write {error.filename or 'standard output'}: {error.strerror or error}.", EXIT_SOME_FAILED
        )
    except Exception as error:
        if _debug():
            raise
        return _fail(
            f"unexpected {type(error).__name__}: {' '.join(str(error).split())[:300]}. "
            "This is a fault in wetread; run the command again with --debug to see where, and report it.",
            EXIT_SOME_FAILED,
        )


def _fail(message: str, code: int) -> int:
    if _debug():
        import traceback

        traceback.print_exc()
    if _LAUNCHED in os.environ:
        from wetread.cli import processes

        processes.hand_over(message, code)
    else:
        sys.stderr.write(f"wetread: {message}\n")
    return code


def _debug() -> bool:
    return bool(os.environ.get("WETREAD_DEBUG"))
