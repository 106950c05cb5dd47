"""`llamafactory-cli browse DIR`: the page of completions without the Board, for this machine alone unless it is asked otherwise."""

import argparse
import os
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from ...config.problem import ConfigError, Problem
from .places import who_reaches


HOST, PORT = "127.0.0.1", 7861  # [ours] the Board has 7860
POLICY = (
    b"default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    b"img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; frame-ancestors 'self'"
)
USAGE = "llamafactory-cli browse DIR [--port N] [--host ADDRESS] [--media-dir DIR] [--language en|zh]"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError([f"browse: {message}. Usage: {USAGE}."])


def parser() -> argparse.ArgumentParser:
    """Return what reads the words after `browse`."""
    made = _Parser(prog="llamafactory-cli browse", usage=USAGE, description=__doc__)
    made.add_argument("folder", metavar="DIR", type=Path, help="a run, a folder of runs, or the output of `synth`")
    made.add_argument("--port", type=int, default=PORT, help=f"default {PORT}; 0 takes one that is free")
    made.add_argument(
        "--host", default=HOST, help=f"default {HOST}: this machine alone; 0.0.0.0 opens it to the network"
    )
    made.add_argument(
        "--media-dir", type=Path, help="where pictures are, for a run that was moved; default: what the run says"
    )
    made.add_argument("--language", choices=("en", "zh"), default="en", help="of the page; default en")
    return made


def prepare(argv: Sequence[str]) -> str | None:
    """Serve the page before the host is imported, which takes long and of which nothing is needed; return the help if asked for it.

    The page is served by another program in the place of this one: here, Python holds the lock of all imports.

    Raises:
        ConfigError: a folder that is not there, a port that is taken.
    """
    if not argv or {"-h", "--help"} & set(argv):
        return parser().format_help()
    read(argv)
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-P", "-m", __package__, *argv])


def run_browse(argv: list[str]) -> None:
    """Do what `prepare` does, where the host was imported already."""
    told = parser().format_help() if not argv or {"-h", "--help"} & set(argv) else None
    if told is None:
        serve(argv)
    else:
        print(told)


@dataclass(frozen=True)
class Request:
    """What is to be served, and where."""

    root: Path
    media_dir: Path | None
    host: str
    port: int
    language: str


def read(argv: Sequence[str]) -> Request:
    """Read and check the words.

    Raises:
        ConfigError: a folder that is not there, a port that is taken.
    """
    given = parser().parse_args(argv)
    root = check_folder("DIR", given.folder)
    media = None if given.media_dir is None else check_folder("--media-dir", given.media_dir)
    return Request(root, media, given.host, free_port(given.host, given.port), given.language)


def serve(argv: Sequence[str]) -> None:
    """Serve the page until it is stopped."""
    request = read(argv)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # it would tell a server elsewhere
    for name in ("no_proxy", "NO_PROXY"):
        os.environ[name] = ",".join(filter(None, [os.environ.get(name), "localhost,127.0.0.1,0.0.0.0"]))
    import gradio as gr
    from starlette.middleware import Middleware

    from .events import start
    from .page import Browser
    from .widgets import build

    # no font from elsewhere
    theme = gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
    with gr.Blocks(title=f"Completions: {request.root.name}", theme=theme, analytics_enabled=False) as page:
        browser = Browser([request.root], media_dir=request.media_dir)
        start(build(browser, fixed=request.language), page.load)
    print(who_reaches(request.host, request.port), "Stop with Ctrl+C.", flush=True)
    page.launch(
        server_name=request.host,
        server_port=request.port,
        share=False,
        quiet=True,
        inbrowser=False,
        show_api=False,
        app_kwargs={"middleware": [Middleware(OwnPage)]},
    )


class OwnPage:
    """Tells browsers to load nothing from elsewhere: gradio's page names a script of another server."""

    def __init__(self, app: Any) -> None:
        """Stand before an ASGI app."""
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Add the header to every answer."""

        async def send_with(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"content-security-policy", POLICY)]
            await send(message)

        await self.app(scope, receive, send_with)


def check_folder(name: str, folder: Path) -> Path:
    """Return the folder to look into: that of a run for its completions, that of the output of `synth` for a file.

    Raises:
        ConfigError: it is not there.
    """
    if not folder.exists():
        raise ConfigError([Problem(name, str(folder), "a folder that is there", "Correct the path.")])
    from ...storage.completion_files import FOLDER  # with pyarrow, which `--help` does without

    folder = folder.resolve()
    return folder.parent if folder.is_file() or folder.name == FOLDER else folder


def free_port(host: str, port: int) -> int:
    """Return the port, or a free one for 0.

    Raises:
        ConfigError: it is taken, or the address is none of this machine.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family) as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tried.bind((host, port))
            return int(tried.getsockname()[1])
    except (OSError, OverflowError) as error:
        got = f"{host}, {port} ({error})"
        remedy = "Give another `--port`; 0 takes one that is free."
        raise ConfigError(
            [Problem("--host, --port", got, "an address of this machine and a free port", remedy)]
        ) from None
