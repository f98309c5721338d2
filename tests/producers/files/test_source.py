"""Files that cannot be read as a whole: what they are is found out by what they begin with, and said in one sentence."""

from __future__ import annotations

import gzip
import io
import re
import zipfile

import pytest

from producers.files import BadFile, Inflater, inflated, survey
from tests.producers.files.reading import blocks_of, read, refused

HEADER = "item_id,item_type,status,name\n"
LIMIT = 1000


def workbook() -> bytes:
    kept = io.BytesIO()
    with zipfile.ZipFile(kept, "w") as archive:
        archive.writestr("xl/worksheets/sheet1.xml", "<sheet/>")
    return kept.getvalue()


ROW = HEADER + "A,p,active,"
UNREADABLE: list[tuple[str, bytes, int, str, str]] = [
    ("nothing", b"", 1, "empty_file", "The file is empty"),
    ("a mark", b"\xef\xbb\xbf", 1, "empty_file", "The file is empty"),
    ("white space", b" \r\n\n\t", 1, "empty_file", "The file is empty"),
    ("a header", HEADER.encode(), 1, "no_rows", "The file has no rows"),
    ("a header, blanks", f"{HEADER}\n\n  \n".encode(), 1, "no_rows", "The file has no rows"),
    ("an empty array", b" [ ]\n", 1, "no_rows", "The file has no rows"),
    ("a blank header", b"\nitem_id,item_type,status\nA,p,active\n", 1, "missing_header", "Line 1 is blank"),
    ("an open header", b'item_id,item_type,"status\nA,p,active\n', 1, "bad_quoting", "The header"),
    ("a return in the header", b"item_id,item\r_type,status\nA,p,active\n", 1, "bad_quoting", "The header"),
    ("many columns", b"item_id,item_type,status" + b",c" * 5000 + b"\nA\n", 1, "too_many_columns", "The header"),
    ("a long header", b"item_id," + b"x" * 600_000, 1, "row_too_large", "The header"),
    (
        "a workbook",
        workbook(),
        1,
        "binary_file",
        "The file is an Excel workbook or another zip archive: save the sheet as CSV",
    ),
    ("an old workbook", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(500), 1, "binary_file", "The file is an old Excel"),
    ("a PDF", b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", 1, "binary_file", "The file is a PDF"),
    ("a picture", b"\x89PNG\r\n\x1a\n" + bytes(50), 1, "binary_file", "The file is a PNG picture"),
    ("a photograph", b"\xff\xd8\xff\xe0\0\x10JFIF", 1, "binary_file", "The file is a JPEG picture"),
    ("gzip", gzip.compress(HEADER.encode(), mtime=0), 1, "binary_file", "The file is gzip inside gzip"),
    ("zeros", bytes(5000), 1, "binary_file", "The file is not text"),
    ("noise", bytes(range(256)) * 40, 1, "binary_file", "The file is not text"),
    ("controls", b"\x01\x02\x03\x04" * 500, 1, "binary_file", "The file is not text"),
    ("UTF-16", (ROW + "x").encode("utf-16"), 1, "invalid_encoding", "The file is UTF-16"),
    ("UTF-16 without a mark", (ROW + "x").encode("utf-16-le"), 1, "invalid_encoding", "The file looks like UTF-16"),
    ("UTF-16, the other", (ROW + "x").encode("utf-16-be"), 1, "invalid_encoding", "The file looks like UTF-16"),
    ("UTF-32", (ROW + "x").encode("utf-32"), 1, "invalid_encoding", "The file is UTF-"),
    (
        "Latin-1",
        (ROW + "Größe\n").encode("latin-1"),
        2,
        "invalid_encoding",
        "Line 2 is not UTF-8 (it looks like windows-1252)",
    ),
    (
        "Windows",
        (ROW + "5 € – café\n").encode("cp1252"),
        2,
        "invalid_encoding",
        "Line 2 is not UTF-8 (it looks like windows-1252)",
    ),
    (
        "Cyrillic",
        (ROW + "Беспроводные наушники с активным шумоподавлением и микрофоном\n").encode("cp1251"),
        2,
        "invalid_encoding",
        "Line 2 is not UTF-8 (it looks like cp1251)",
    ),
    ("cut", (ROW + "€").encode()[:-1], 2, "invalid_encoding", "Line 2 is not UTF-8"),
    ("a surrogate", ROW.encode() + b"\xed\xa0\x80\n", 2, "invalid_encoding", "Line 2 is not UTF-8"),
    ("old Mac", HEADER.replace("\n", "\r").encode() + b"A,p,active,x\r", 1, "lone_carriage_return", "The lines end"),
]


@pytest.mark.parametrize(
    ("data", "line", "code", "sentence"), [row[1:] for row in UNREADABLE], ids=[row[0] for row in UNREADABLE]
)
def test_one_sentence(data: bytes, line: int, code: str, sentence: str) -> None:
    (problem,) = refused(data)
    assert (problem.line, problem.row, problem.column, problem.code, problem.id) == (line, 0, "", code, None)
    assert problem.message.startswith(sentence)
    assert re.fullmatch(r"[A-Z][^\n]{10,140}[^.]", problem.message)


def test_the_line_of_the_first_byte_that_is_not_utf8() -> None:
    lines = [HEADER.encode(), *(b"A,p,active,%d\n" % n for n in range(20_000)), b"B,p,active,\xe4\n"]
    assert refused(b"".join(lines))[0].line == 20_002
    for size in (1, 2, 3, 100):
        with pytest.raises(BadFile) as raised:
            survey("items", blocks_of("äöü\n€".encode() + b"\n\xff", size))
        assert raised.value.problems[0].line == 3


def test_odd_characters_are_text() -> None:
    found = read(HEADER + "A,p,active,\x0b\x1b[0m \ufffe \u2028 \x85 \x1c\n")
    assert (found.errors, len(found.upserts)) == ([], 1)


@pytest.mark.parametrize("size", [1, 3, 10_000])
def test_gzip_of_several_members(size: int) -> None:
    first, second = HEADER.encode(), b"A,p,active,x\n"
    data = gzip.compress(first) + gzip.compress(b"") + gzip.compress(second) + bytes(20)
    chunks = [data[at : at + size] for at in range(0, len(data), size)]
    assert b"".join(inflated(chunks, LIMIT)) == first + second
    assert b"".join(inflated([b"", *(bytes([one]) for one in first)], LIMIT)) == first


BAD_GZIP = [
    (gzip.compress(b"x" * 500, mtime=0)[:-1], "The gzip file ends too early"),
    (gzip.compress(b"x" * 500, mtime=0)[:12], "The gzip file ends too early"),
    (b"\x1f\x8b", "The gzip file ends too early"),
    (gzip.compress(b"x", mtime=0) + b"and more", "The gzip file is damaged"),
    (gzip.compress(b"x" * 500, mtime=0)[:-8] + bytes(8), "The gzip file is damaged"),
    (b"\x1f\x8b" + bytes(50), "The gzip file is damaged"),
]


@pytest.mark.parametrize(("data", "sentence"), BAD_GZIP)
@pytest.mark.parametrize("size", [1, 10_000])
def test_gzip_that_is_broken(data: bytes, sentence: str, size: int) -> None:
    with pytest.raises(BadFile) as raised:
        list(inflated([data[at : at + size] for at in range(0, len(data), size)], LIMIT))
    (problem,) = raised.value.problems
    assert (problem.code, problem.row) == ("bad_gzip", 0)
    assert problem.message.startswith(sentence)


@pytest.mark.parametrize("data", [b"x" * 1001, gzip.compress(b"x" * 1001, mtime=0), gzip.compress(bytes(10**7), mtime=0)])
def test_the_limit_is_of_the_inflated_file(data: bytes) -> None:
    for size in (1, 100, 20_000):
        with pytest.raises(BadFile) as raised:
            list(inflated([data[at : at + size] for at in range(0, len(data), size)], LIMIT))
        assert raised.value.problems[0].code == "file_too_large"
        assert "1,000 bytes" in raised.value.problems[0].message


def test_just_within_the_limit() -> None:
    data = b"x" * 1000
    assert b"".join(inflated([data], LIMIT)) == b"".join(inflated([gzip.compress(data)], LIMIT)) == data
    inflater = Inflater(LIMIT)
    assert inflater.feed(b"") + inflater.feed(b"\x1f") + inflater.feed(b"x") + inflater.end() == b"\x1fx"


def test_little_that_becomes_much_comes_in_pieces() -> None:
    inflater = Inflater(20_000_000)
    sizes = [len(piece) for piece in inflater.pieces(gzip.compress(bytes(10_000_000)))]
    assert sum(sizes) == 10_000_000
    assert max(sizes) <= 256 * 1024
