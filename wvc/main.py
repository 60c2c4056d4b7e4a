"""Build the command line from the files behind the door `wvc.commands`, run it, turn errors into exit codes.

A command is imported when it is invoked; names and help come from the files' text.
"""

from __future__ import annotations

import difflib
import gc
import os
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, cast

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from wvc import __version__, console, plugins
from wvc.errors import Interrupted, UsageError, WvcError, WvcWarning
from wvc.process import keep_freed_memory
from wvc.store.durable import EXPECTED

DOOR = "wvc.commands"
print_warning = warnings.showwarning
# The order in which `wvc --help` shows the commands; one that is not here comes last, under "more".
GROUPS: Mapping[str, str] = {
    "start": "init clone import export config",
    "tasks": "task",
    "work": "commit status branch switch tag reset",
    "join": "merge cherry-pick revert rebase",
    "look": "log show diff blame bisect reflog lineage eval merge-base rev-parse du",
    "share": "remote push pull fetch serve token",
    "trust": "sign verify certify audit replay",
    "cook": "cook hparams connectivity diversity landscape plot",
    "keep": "fsck repair rebuild gc repack",
}
# click's own exception; newer versions of Typer have click inside, so it is found by what is public of it.
Usage = cast(type[Exception], typer.BadParameter.__base__)


class Plain(TyperCommand):
    """A command whose help is plain text, in every version of Typer.

    What follows `--` are globs for names of tensors, where the command has an option for those.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        option = self._globs()
        if option is not None and "--" in args:
            at = args.index("--")
            args = [*args[:at], *(f"{option}={glob}" for glob in args[at + 1 :])]
        return super().parse_args(ctx, args)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        pieces = super().collect_usage_pieces(ctx)
        return pieces if self._globs() is None else [*pieces, "[-- GLOB...]"]

    def _globs(self) -> str | None:
        """The option that takes globs, if there is one."""
        return next((param.opts[0] for param in self.params if param.name == "globs"), None)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        for part in (self.format_usage, self.format_help_text, self.format_options, self.format_epilog):
            part(ctx, formatter)


class Command(Plain):
    """A command that is still a file: the real one is built when its arguments are to be read."""

    door = DOOR

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        real = _real(plugins.load(self.door, str(self.name)).command, str(self.name))
        if not gc.isenabled():  # `main` did that; a host of this library decides for itself
            gc.freeze()  # what was imported stays: looking through it again and again costs `log` 70 ms
            gc.enable()
        return real.make_context(info_name, args, parent=parent, **extra)


class Group(TyperGroup):
    """A folder of commands."""

    door = DOOR

    def list_commands(self, ctx: Any) -> list[str]:
        return plugins.names(self.door)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command, not yet imported. Raises UsageError."""
        if cmd_name not in plugins.names(self.door):
            if ctx.resilient_parsing:  # the shell asks for completions: no place for errors
                return None
            near = difflib.get_close_matches(cmd_name, plugins.names(self.door), n=1)
            hint = f"did you mean `{ctx.command_path} {near[0]}`?" if near else f"run `{ctx.command_path} --help`"
            raise UsageError(f"unknown command {cmd_name!r}", hint)
        kind = Group if plugins.is_group(self.door, cmd_name) else Command
        help = plugins.first_line(self.door, cmd_name)
        made = kind(name=cmd_name, help=help, no_args_is_help=False, rich_markup_mode=None)
        made.door = f"{self.door}.{cmd_name}" if kind is Group else self.door
        return made

    format_help = Plain.format_help

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        for title, names in self._groups():
            with formatter.section(title):
                formatter.write_dl([(name, plugins.first_line(self.door, name).rstrip(".")) for name in names])

    def _groups(self) -> list[tuple[str, list[str]]]:
        names = plugins.names(self.door)
        if self.door != DOOR:
            return [("Commands", names)]
        groups = [(title, [name for name in text.split() if name in names]) for title, text in GROUPS.items()]
        known = {name for _, group in groups for name in group}
        groups.append(("more", [name for name in names if name not in known]))
        return [(title, group) for title, group in groups if group]


def _real(function: Callable[..., object], name: str) -> Any:
    """click's command for `function`, with --json on top of its own options."""
    command, switches = _built(function, name), _built(_switches, name)
    command.params += switches.params
    return command


def _built(function: Callable[..., object], name: str) -> Any:
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command(name, cls=Plain)(function)
    return get_command(app)


def _json(value: bool) -> None:
    if value:
        console.use_json(True)


def _version(value: bool) -> None:
    if value:
        console.show({"wvc": __version__}, lambda _: f"wvc {__version__}")
        raise typer.Exit


Json = Annotated[
    bool, typer.Option("--json", help="Print facts as JSON", is_eager=True, expose_value=False, callback=_json)
]
Version = Annotated[
    bool, typer.Option("--version", help="Print the version", is_eager=True, expose_value=False, callback=_version)
]


def _switches(json: Json = False) -> None:
    """Options that every command has."""


def _global(
    context: typer.Context,
    folder: Annotated[Path | None, typer.Option("-C", metavar="DIR", help="Run as if started in DIR")] = None,
    version: Version = False,
    json: Json = False,
) -> None:
    """Version control for fine-tuned neural-network weights."""
    if folder is not None:
        try:
            os.chdir(folder)
        except OSError as error:
            raise UsageError(f"cannot go to {folder}: {EXPECTED.get(error.errno or 0, error.strerror)}") from None
    if context.invoked_subcommand is None:
        console.show(context.get_help(), lambda help: "\n".join(console.lines(help)))


def build() -> Any:
    """The whole command line, as a click group."""
    app = typer.Typer(cls=Group, rich_markup_mode=None)
    app.callback(invoke_without_command=True)(_global)
    return get_command(app)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a name that the terminal cannot spell is no reason to fail
            stream.reconfigure(errors="replace")
    console.use_json(False)
    warnings.showwarning = _warned
    gc.disable()
    keep_freed_memory()
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def _warned(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
    """wvc's own warnings in its own form; those of others are for developers, who ask for them."""
    if issubclass(category, WvcWarning):
        console.warn(console.safe(message))
    elif sys.warnoptions:
        print_warning(message, category, *where, **more)


def run(arguments: Sequence[str]) -> int:
    """Run the command line and return the exit code."""
    try:
        return _invoke(list(arguments))
    except WvcError as error:
        console.fail(error)
        return error.exit_code
    except BrokenPipeError:
        console.hush()
        return 1
    except OSError as error:
        console.fail(_refused(error))
        return 1
    except Exception as error:
        _bug(error)
        return 1
    finally:
        console.stop()


def _invoke(arguments: list[str]) -> int:
    try:
        code = build().main(args=arguments, prog_name="wvc", standalone_mode=False)
    except Usage as error:
        raise _usage(error) from None
    except (KeyboardInterrupt, typer.Abort):
        raise Interrupted("interrupted") from None
    if code == Interrupted.exit_code:  # some click turned Ctrl-C into this
        raise Interrupted("interrupted")
    return code if isinstance(code, int) else 0


def _usage(error: Any) -> UsageError:
    """click's words in wvc's form."""
    message = error.format_message().rstrip(".")
    path = error.ctx.command_path if error.ctx is not None else "wvc"
    return UsageError(message[:1].lower() + message[1:], f"run `{path} --help`")


def _refused(error: OSError) -> WvcError:
    """What the operating system refused, where nobody expected it to."""
    why = EXPECTED.get(error.errno or 0) or error.strerror or str(error)
    return WvcError(why if error.filename is None else f"{error.filename}: {why}")


def _bug(error: Exception) -> None:
    if os.environ.get("WVC_TRACEBACK"):
        console.trace()
    text = f"internal error: {type(error).__name__}: {error}"
    console.fail(WvcError(text, "set WVC_TRACEBACK=1 to see where, and report it"))
