"""The process that renders: Vega-Lite on stdin, PNG on stdout, until stdin ends.

Run as a file, so that it loads nothing of the product. Each message is its length in 4 bytes and
the content; an answer begins with OK or FAILED. What the renderer says of a specification may hold
a patient's data, so it is told to nobody.
"""

from __future__ import annotations

import signal
import struct
import sys
import zlib
from collections.abc import Iterator
from typing import BinaryIO

import vl_convert

LENGTH = struct.Struct("!I")
OK, FAILED = b"\0", b"\1"
SIGNATURE = b"\x89PNG\r\n\x1a\n"
SCALE = 1.5
VERSION = "6.4"
#: Ends a renderer that hangs though its server is gone.
ALARM_S = 60


def main() -> None:
    """Answers one specification after the other."""
    asked, told = sys.stdin.buffer, sys.stdout.buffer
    while True:
        size = asked.read(LENGTH.size)
        if len(size) < LENGTH.size:
            return
        signal.alarm(ALARM_S)
        _tell(told, _rendered(asked.read(LENGTH.unpack(size)[0])))
        signal.alarm(0)


def _rendered(specification: bytes) -> bytes:
    try:
        png = vl_convert.vegalite_to_png(
            specification.decode(), vl_version=VERSION, scale=SCALE, allowed_base_urls=[]
        )
    except ValueError:
        return FAILED
    return OK + b"".join(_packed(png))


def _packed(png: bytes) -> Iterator[bytes]:
    """The picture with its pixels packed to about a third: the renderer prefers speed.

    PNG, 5.3: a chunk is the length of its content, a type, the content, and a sum of both.
    """
    yield png[: len(SIGNATURE)]
    pixels, at = b"", len(SIGNATURE)
    while at < len(png):
        size = LENGTH.unpack_from(png, at)[0]
        kind, content = png[at + 4 : at + 8], png[at + 8 : at + 8 + size]
        if kind == b"IDAT":
            pixels += content
        else:
            if kind == b"IEND":
                yield _chunk(b"IDAT", zlib.compress(zlib.decompress(pixels)))
            yield _chunk(kind, content)
        at += 12 + size


def _chunk(kind: bytes, content: bytes) -> bytes:
    told = kind + content
    return LENGTH.pack(len(content)) + told + LENGTH.pack(zlib.crc32(told))


def _tell(told: BinaryIO, message: bytes) -> None:
    told.write(LENGTH.pack(len(message)) + message)
    told.flush()


if __name__ == "__main__":
    main()
