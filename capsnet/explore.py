"""Explore a trained network in the browser: draw, see its capsules, move their dimensions, watch the routing.

  python -m capsnet.explore          the model that comes with the project, trained on KMNIST-7k
  python -m capsnet.explore RUN      the folder of a run, or a checkpoint file

The page is for this machine alone (127.0.0.1), and nothing leaves it. Ctrl-C ends the program.

  --port N         serve the page there; 8616 if you do not say, 0: any port that is free
  --no-browser     print the address, but do not open it
  data.root=DIR    the test images are in another folder than in training
  plugin=FILE.py   options from a file of your own, if the run was trained with it
"""

import argparse
import contextlib
import importlib.util
import socket
import sys
import threading
import webbrowser
from collections.abc import Sequence

from capsnet.cli.program import run_program, start_logging
from capsnet.cli.run_parser import RunParser
from capsnet.errors import ConfigError
from capsnet.runs.shipped import DEFAULT, FOLDER
from capsnet.text import relative

ADDRESS, PORT = "127.0.0.1", 8616
NEEDED = ("starlette", "uvicorn")


def main() -> None:
    arguments = _parse(sys.argv[1:])
    with _listening(arguments.port) as listener:
        start_logging()
        from capsnet.explorer.samples import open_exhibit  # loads torch, so only if the arguments are right
        from capsnet.explorer.server import application

        exhibit = open_exhibit(arguments.run, arguments.plugin, arguments.root)
        address = f"http://{ADDRESS}:{listener.getsockname()[1]}"
        print(f"{exhibit.title}, from {relative(arguments.run)}")
        if exhibit.test_images is None:
            print(f"no test images: {exhibit.why_none}")
        print(f"explore it at {address} (Ctrl-C ends)", flush=True)
        if arguments.browser:
            open_browser(address)
        serve(application(exhibit), listener)


def _parse(given: Sequence[str]) -> argparse.Namespace:
    parser = RunParser("capsnet.explore", __doc__, settings=("plugin", "data.root"), default=str(FOLDER / DEFAULT))
    parser.add_argument("--port", type=_port, default=PORT)
    parser.add_argument("--no-browser", dest="browser", action="store_false")
    arguments = parser.parse(given)
    if not all(map(importlib.util.find_spec, NEEDED)):
        raise ConfigError("the explorer needs more packages: pip install 'capsnet[explore]'")
    return arguments


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text}: must be a number from 0 to 65535")
    return int(text)


def _listening(port: int) -> socket.socket:
    """A socket that listens on a port of this machine. Raises ConfigError if it is in use, or not allowed."""
    listener = socket.socket()
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # the last explorer may just have ended
        listener.bind((ADDRESS, port))
        listener.listen()
    except OSError as error:
        listener.close()
        raise ConfigError(f"--port {port}: {error.strerror}; choose another, or 0 for any that is free") from error
    return listener


def open_browser(address: str) -> None:
    """Open an address in the person's browser, if there is one with a window; one in the terminal would be in the way.

    The server need not answer yet: the browser waits.
    """
    with contextlib.suppress(webbrowser.Error):
        browser = webbrowser.get()
        if isinstance(browser, webbrowser.BackgroundBrowser) or not isinstance(browser, webbrowser.GenericBrowser):
            threading.Thread(target=browser.open, args=(address,), daemon=True).start()


def serve(app: object, listener: socket.socket) -> None:
    """Answer requests until Ctrl-C, which is how this program ends, so it ends well."""
    import uvicorn

    config = uvicorn.Config(
        app,
        log_config=None,
        log_level="warning",
        access_log=False,
        lifespan="off",
        server_header=False,
        timeout_graceful_shutdown=1,
    )
    with contextlib.suppress(KeyboardInterrupt):
        uvicorn.Server(config).run(sockets=[listener])
    print()


if __name__ == "__main__":
    run_program(main)
