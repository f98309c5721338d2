"""What every command shares: the stack that it means, and how it ends."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.exceptions import TyperException

from foldline.domain.errors import FoldlineError, Unreachable
from foldline.embedded.datadir import Stack, data_directory, running_stack
from foldline.embedded.errors import EmbeddedError

if TYPE_CHECKING:
    from foldline.settings import Settings

NEGATIVE, UNREACHABLE, INTERRUPTED = 1, 2, 130

DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", help="The stack's data directory; else FOLDLINE_DATA_DIR, else .foldline.", metavar="D"),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def settings_for(data_dir: Path | None) -> Settings:
    """The settings of the stack that runs on the data directory, else those of the environment.

    Raises `Unreachable` where a directory is given and no stack runs on it.
    """
    from foldline.settings import Settings

    if stack := running_stack(data_directory(data_dir)):
        values: dict[str, Any] = {name.removeprefix("FOLDLINE_").lower(): value for name, value in stack.environment.items()}
        return Settings(**{"schema_registry_url": None, "master_key": None} | values)
    if data_dir:
        raise no_stack(data_dir)
    return Settings()


def base_url(data_dir: Path | None, settings: Settings) -> str:
    """How people reach the dashboard: FOLDLINE_PUBLIC_URL, else the running stack's URL, else where the gateway listens."""
    if settings.public_url:
        return settings.public_url
    if stack := stack_for(data_dir):
        return stack.url
    host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(settings.gateway_host, settings.gateway_host)
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.gateway_port}"


def stack_for(data_dir: Path | None) -> Stack | None:
    """The stack that runs on the data directory; None where none does and no directory is given."""
    stack = running_stack(data_directory(data_dir))
    if data_dir and not stack:
        raise no_stack(data_dir)
    return stack


def no_stack(data_dir: Path | None) -> Unreachable:
    return Unreachable(f"no stack is running on {data_directory(data_dir)}: start one with `foldline up`")


@contextmanager
def errors_as_exit_codes() -> Iterator[None]:
    """Turns the errors that a command raises into a message on stderr and the exit code that it stands for."""
    try:
        yield
    except (Unreachable, EmbeddedError) as error:
        _exit(str(error), UNREACHABLE)
    except FoldlineError as error:
        _exit(str(error), NEGATIVE)
    except typer.Abort:
        sys.exit(INTERRUPTED)
    except TyperException as error:  # wrong use
        _exit(_usage(error), UNREACHABLE)
    except ValueError as error:
        if not (line := _wrong_setting(error)):
            raise
        _exit(line, UNREACHABLE)
    except BrokenPipeError:  # the reader of our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(NEGATIVE)


def _exit(message: str, code: int) -> None:
    print(f"foldline: {message}", file=sys.stderr)
    sys.exit(code)


def _usage(error: TyperException) -> str:
    context = getattr(error, "ctx", None)
    program = context.command_path if context is not None else "foldline"
    said = str(getattr(error, "format_message", error.__str__)())
    return f"{' '.join(said.split()) or 'a command is missing'} (see `{program} --help`)"


def _wrong_setting(error: ValueError) -> str:
    from pydantic import ValidationError

    if not isinstance(error, ValidationError) or error.title != "Settings":
        return ""
    return "; ".join(f"FOLDLINE_{str(fault['loc'][0]).upper()}: {fault['msg']}" for fault in error.errors())
