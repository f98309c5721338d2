"""The bytes of a file: inflated, and known to be UTF-8 text before anybody parses them."""

from __future__ import annotations

import codecs
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple, TypeAlias

from charset_normalizer import from_bytes

from producers.files.problems import BadFile, bad_file

Blocks: TypeAlias = Callable[[], Iterator[bytes]]
"""The file's bytes, inflated, from its start; may be called again."""

BOM: Final = codecs.BOM_UTF8
GZIP_MAGIC: Final = b"\x1f\x8b"
ROW_BYTES: Final = 2 * 1024 * 1024
CHUNK_BYTES: Final = 256 * 1024
SAMPLE_BYTES: Final = 4096

_MAGIC: Final = (
    (b"PK\x03\x04", "an Excel workbook or another zip archive: save the sheet as CSV (UTF-8), or unpack it first"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook: save the sheet as CSV (UTF-8)"),
    (b"%PDF", "a PDF: export the data as CSV or JSON"),
    (b"\x89PNG", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"GIF8", "a GIF picture"),
    (b"\x7fELF", "a program"),
    (GZIP_MAGIC, "gzip inside gzip: compress it once"),
)
_MARKS: Final = (
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)
# Bytes that are letters and marks of western languages in windows-1252, and ASCII.
_WESTERN: Final = frozenset(
    (*b"\t\n\r", *range(32, 127), *"€‚„…‘’“”•–—™ŠšŽžŒœŸ\xa0¡£§©ª«®°²´·º»¼½¾¿".encode("cp1252"), *range(0xC0, 0x100))
)
_OTHER_SCRIPT: Final = re.compile(rb"[\xc0-\xff]{3}")
_CONTROLS: Final = bytes(set(range(32)) - set(b"\t\n\r\f\x0b\x1b"))


class Inflater:
    """Inflates a file as it comes, if it is gzip (of several members, too); passes on anything else. Never more than the
    limit. Raises `BadFile`."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._size = 0
        self._head: bytes | None = b""
        self._member: zlib._Decompress | None = None

    def feed(self, chunk: bytes) -> bytes:
        """What the chunk adds to the file."""
        return b"".join(self.pieces(chunk))

    def pieces(self, chunk: bytes) -> Iterator[bytes]:
        """What the chunk adds to the file, in pieces of at most `CHUNK_BYTES` where it is inflated."""
        if self._head is not None:
            chunk = self._head + chunk
            if len(chunk) < len(GZIP_MAGIC):
                self._head = chunk
                return
            self._head = None
            if chunk.startswith(GZIP_MAGIC):
                self._member = _member()
        for piece in self._inflated(chunk) if self._member else (chunk,):
            yield self._counted(piece)

    def end(self) -> bytes:
        """What is left when there are no more chunks."""
        if self._member is not None and not self._member.eof:
            raise bad_file("bad_gzip", "The gzip file ends too early: was it copied as a whole?")
        return self._counted(self._head or b"")

    def _inflated(self, chunk: bytes) -> Iterator[bytes]:
        while chunk:
            assert self._member is not None
            if self._member.eof:
                chunk = chunk.lstrip(b"\0")
                if not chunk:
                    break
                self._member = _member()
            try:
                piece = self._member.decompress(chunk, CHUNK_BYTES)
            except zlib.error as error:
                raise bad_file("bad_gzip", "The gzip file is damaged: compress it again") from error
            chunk = self._member.unused_data if self._member.eof else self._member.unconsumed_tail
            yield piece

    def _counted(self, data: bytes) -> bytes:
        self._size += len(data)
        if self._size > self._limit:
            raise bad_file("file_too_large", f"The file is larger than {self._limit:,} bytes: split it into several")
        return data


class Text(NamedTuple):
    """What is known of a file that is text."""

    size: int
    bom: bool
    first: bytes
    """Its first byte that is not white space."""


def inflated(chunks: Iterable[bytes], limit: int) -> Iterator[bytes]:
    """The bytes of a file of at most `limit` bytes, inflated where it is gzip. Raises `BadFile`."""
    inflater = Inflater(limit)
    for chunk in chunks:
        yield from inflater.pieces(chunk)
    yield inflater.end()


def chunks(blocks: Blocks) -> Iterator[bytes]:
    """The file without its byte order mark, in pieces of `CHUNK_BYTES` and a last one that may be shorter."""
    begun, kept = False, bytearray()
    for block in blocks():
        for at in range(0, len(block), CHUNK_BYTES):
            kept += block[at : at + CHUNK_BYTES]
            while len(kept) >= CHUNK_BYTES:
                yield bytes(kept[:CHUNK_BYTES]) if begun else bytes(kept[:CHUNK_BYTES]).removeprefix(BOM)
                begun = True
                del kept[:CHUNK_BYTES]
    if kept:
        yield bytes(kept) if begun else bytes(kept).removeprefix(BOM)


def texts(blocks: Blocks) -> Iterator[str]:
    """The file as text, its line ends as they are. The encoding was checked (`text_of`)."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    for chunk in chunks(blocks):
        yield decoder.decode(chunk)


def text_of(blocks: Blocks) -> Text:
    """Reads the whole file once, to know that it is text in UTF-8. Raises `BadFile` that says what it is instead."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    size = lines = 0
    head, first, returns = b"", b"", 0
    for block in blocks():
        if len(head) < SAMPLE_BYTES:
            head += block[: SAMPLE_BYTES - len(head)]
            _need_no_magic(head)
        try:
            decoder.decode(block)
        except UnicodeDecodeError as error:
            line = lines + 1 + error.object[: error.start].count(b"\n")
            raise _not_utf8(bytes(error.object), error.start, line, head) from error
        first = first or block.lstrip(BOM + b" \t\r\n")[:1]
        returns += block.count(b"\r")
        lines += block.count(b"\n")
        size += len(block)
    try:
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise _not_utf8(bytes(error.object), 0, lines + 1, head) from error
    _need_text(head)
    if not first:
        raise bad_file("empty_file", "The file is empty")
    if returns and not lines and first not in b"[{":
        raise bad_file("lone_carriage_return", "The lines end with a carriage return alone: save the file with LF or CRLF")
    return Text(size, head.startswith(BOM), first)


def _member() -> zlib._Decompress:
    return zlib.decompressobj(zlib.MAX_WBITS | 16)


def _need_no_magic(head: bytes) -> None:
    for magic, what in _MAGIC:
        if head.startswith(magic):
            raise bad_file("binary_file", f"The file is {what}")
    for mark, encoding in _MARKS:
        if head.startswith(mark):
            raise bad_file("invalid_encoding", f"The file is {encoding}: save it as UTF-8")


def _need_text(head: bytes) -> None:
    if head.count(b"\0") * 4 > len(head) and any(head[::2]) != any(head[1::2]):
        raise bad_file("invalid_encoding", "The file looks like UTF-16: save it as UTF-8")
    if (len(head) - len(head.translate(None, _CONTROLS))) * 10 > len(head):
        raise bad_file("binary_file", "The file is not text: send CSV or JSON")


def _not_utf8(data: bytes, at: int, line: int, head: bytes) -> BadFile:
    _need_text(head)
    sample = data[max(0, at - SAMPLE_BYTES // 2) : at + SAMPLE_BYTES // 2]
    if _WESTERN.issuperset(sample) and not _OTHER_SCRIPT.search(sample):
        like = "windows-1252"
    elif guess := from_bytes(sample).best():
        like = guess.encoding.replace("_", "-")
    elif len(sample.translate(None, _CONTROLS)) < len(sample):
        return bad_file("binary_file", "The file is not text: send CSV or JSON")
    else:
        like = ""
    hint = f" (it looks like {like})" if like not in ("", "ascii", "utf-8") else ""
    return bad_file("invalid_encoding", f"Line {line} is not UTF-8{hint}: save the file as UTF-8", line)
