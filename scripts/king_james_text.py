"""The King James text out of the data file of Debian's bible-kjv-text: ordinary language, free, to train and measure on.

The file begins with a name and the version of its layout. Then come the size of a window of the text, the number of windows, where each
packed window begins and where the last one ends, and the header that all windows share. Each is packed by compress, on its own. The text
has a verse on each line, `Ge1:1 In the beginning …`; it is laid out here as its reader prints it, so that digests of that text hold.
"""

from __future__ import annotations

import re
import struct
import subprocess
from collections.abc import Iterable

MAGIC = b"EC02Compressed Data File"
# Where the numbers begin, each of four bytes, the most significant first.
NUMBERS_BEGIN = 0x54
# What `compress` writes before its codes.
HEADER_BYTES = 3
WIDTH = 79

BOOKS = {
    "Ge": "Genesis", "Exo": "Exodus", "Lev": "Leviticus", "Num": "Numbers", "Deu": "Deuteronomy", "Josh": "Joshua",
    "Jdgs": "Judges", "Ruth": "Ruth", "1Sm": "1 Samuel", "2Sm": "2 Samuel", "1Ki": "1 Kings", "2Ki": "2 Kings",
    "1Chr": "1 Chronicles", "2Chr": "2 Chronicles", "Ezra": "Ezra", "Neh": "Nehemiah", "Est": "Esther", "Job": "Job",
    "Psa": "Psalms", "Prv": "Proverbs", "Eccl": "Ecclesiastes", "SSol": "Song of Solomon", "Isa": "Isaiah", "Jer": "Jeremiah",
    "Lam": "Lamentations", "Eze": "Ezekiel", "Dan": "Daniel", "Hos": "Hosea", "Joel": "Joel", "Amos": "Amos",
    "Obad": "Obadiah", "Jonah": "Jonah", "Mic": "Micah", "Nahum": "Nahum", "Hab": "Habakkuk", "Zep": "Zephaniah",
    "Hag": "Haggai", "Zec": "Zechariah", "Mal": "Malachi", "Mat": "Matthew", "Mark": "Mark", "Luke": "Luke",
    "John": "John", "Acts": "Acts", "Rom": "Romans", "1Cor": "1 Corinthians", "2Cor": "2 Corinthians", "Gal": "Galatians",
    "Eph": "Ephesians", "Phi": "Philippians", "Col": "Colossians", "1Th": "1 Thessalonians", "2Th": "2 Thessalonians",
    "1Tim": "1 Timothy", "2Tim": "2 Timothy", "Titus": "Titus", "Phmn": "Philemon", "Heb": "Hebrews", "Jas": "James",
    "1Pet": "1 Peter", "2Pet": "2 Peter", "1Jn": "1 John", "2Jn": "2 John", "3Jn": "3 John", "Jude": "Jude",
    "Rev": "Revelation",
}  # fmt: skip
VERSE = re.compile(r"(\d?[A-Za-z]+)(\d+):(\d+) (.*)")


class TextError(Exception):
    """The data are not what they should be; the message is for the user."""


def unpack(data: bytes) -> bytes:
    """Returns the whole text, laid out."""
    if not data.startswith(MAGIC):
        raise TextError(f"the text begins with {data[: len(MAGIC)]!r} instead of {MAGIC!r}")
    try:
        places = window_places(data)
    except struct.error as error:
        raise TextError(f"the text has {len(data)} bytes and ends before its windows begin") from error
    header = data[places[0] - HEADER_BYTES : places[0]]
    windows = (unpack_window(header + data[begin:end]) for begin, end in zip(places, places[1:]))
    # The first line is the name of the edition.
    _, *verses = b"".join(windows).decode("ascii").splitlines()
    return "".join(laid_out(verses)).encode()


def window_places(data: bytes) -> tuple[int, ...]:
    """Returns where each window begins, and where the last one ends."""
    _, count = struct.unpack_from(">2I", data, NUMBERS_BEGIN)
    return struct.unpack_from(f">{count + 1}I", data, NUMBERS_BEGIN + 8)


def unpack_window(packed: bytes) -> bytes:
    """Unpacks what `compress` packed; Python has no reader of its own for it, and gzip has."""
    finished = subprocess.run(["gzip", "-dc"], input=packed, capture_output=True, check=False)
    if finished.returncode != 0:
        raise TextError(f"a window of the text cannot be unpacked: {finished.stderr.decode(errors='replace').strip()}")
    return finished.stdout


def laid_out(verses: Iterable[str]) -> Iterable[str]:
    """Returns the lines: chapters with their names, verses with their numbers, none longer than the width."""
    chapter = ""
    for verse in verses:
        found = VERSE.fullmatch(verse)
        if found is None or found[1] not in BOOKS:
            raise TextError(f"`{verse[:40]}` is no verse of a known book")
        if f"{BOOKS[found[1]]} {found[2]}" != chapter:
            chapter = f"{BOOKS[found[1]]} {found[2]}"
            yield f"\n{chapter}\n\n"
        yield from wrapped(f"  {found[3]} {found[4]}")


def wrapped(verse: str) -> Iterable[str]:
    """Cuts a verse at spaces. The end of the verse counts as a character, as it does for the reader in the package."""
    while len(verse) >= WIDTH:
        cut = verse.rindex(" ", 0, WIDTH + 1)
        yield verse[:cut] + "\n"
        verse = verse[cut + 1 :]
    yield verse + "\n"
