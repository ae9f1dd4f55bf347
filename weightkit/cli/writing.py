"""Standard output, or a file that appears whole or not at all."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from collections.abc import Iterable, Iterator
from typing import TextIO

from weightkit.cli.boundary import ReaderGone
from weightkit.cli.options import Output
from weightkit.errors import AccessError
from weightkit.render.blocks import Block
from weightkit.render.surface import Surface, surface_of


class Paper:
    """What results are written on: a stream and what it can show."""

    def __init__(self, stream: TextIO, surface: Surface, name: str) -> None:
        self.stream = stream
        self.surface = surface
        self.name = name

    def write(self, text: str) -> None:
        """Write ``text``; raises AccessError when it cannot be, ReaderGone if nobody reads."""
        with _writing(self.name):
            self.stream.write(text)

    def write_blocks(self, blocks: Iterable[Block]) -> None:
        """Set blocks as the surface calls for, and write them."""
        if self.surface.rich:
            from weightkit.render.table import render
        else:
            from weightkit.render.plain import render
        self.write(render(blocks, self.surface))

    def flush(self) -> None:
        """Send on what is buffered."""
        with _writing(self.name):
            self.stream.flush()


@contextlib.contextmanager
def paper(output: Output) -> Iterator[Paper]:
    """Where ``output`` says results go; a file takes its name when all is written."""
    if output.file is None:
        page = Paper(_standard_output(), surface_of(sys.stdout, output.color), "standard output")
        yield page
        page.flush()
    else:
        with _whole_file(output.file) as stream:
            yield Paper(stream, Surface(color=output.color == "always"), output.file)


def _standard_output() -> TextIO:
    if sys.stdout is None:
        raise AccessError("standard output is closed")
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")
    return sys.stdout


@contextlib.contextmanager
def _whole_file(path: str) -> Iterator[TextIO]:
    target = os.path.realpath(path)  # a link stays one
    with _writing(path):
        if os.path.exists(target) and not stat.S_ISREG(os.stat(target).st_mode):
            with open(target, "w", encoding="utf-8") as stream:
                yield stream
            return
        beside = f"{target}.{os.getpid()}.tmp"
        try:
            with open(beside, "x", encoding="utf-8", errors="backslashreplace") as stream:
                yield stream
            os.replace(beside, target)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(beside)
            raise


@contextlib.contextmanager
def _writing(name: str) -> Iterator[None]:
    try:
        yield
    except BrokenPipeError as error:
        raise ReaderGone from error
    except OSError as error:
        raise AccessError(error.strerror or str(error), path=name, code="WK010") from error
