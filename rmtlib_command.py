"""Where the command ``rmtlib`` begins: outside of the package, whose imports take a second that Ctrl-C may end quietly."""

from __future__ import annotations

import signal

__all__ = ["main"]


def main() -> int:
    """Run `rmtlib.cli.main`.

    Returns
    -------
    int
        The exit status.
    """
    handler = signal.getsignal(signal.SIGINT)
    if handler is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # while nothing is under way that has to be put in order
    from rmtlib.cli import main as command

    signal.signal(signal.SIGINT, handler)
    return command()
