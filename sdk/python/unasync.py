"""Makes the synchronous client of the asynchronous one.

``python3 unasync.py`` writes ``keyward/_sync`` of ``keyward/_async``, all but the
transports, which are two. A test says so when that was forgotten.
"""

from __future__ import annotations

import io
import re
import tokenize
from pathlib import Path
from typing import Dict, List, Tuple

HERE = Path(__file__).resolve().parent / "keyward"
FILES = ("client.py", "events.py", "nouns.py", "pages.py", "runagent.py", "signin.py")

_NAMES = {
    "StopAsyncIteration": "StopIteration",
    "__aenter__": "__enter__",
    "__aexit__": "__exit__",
    "__aiter__": "__iter__",
    "__anext__": "__next__",
}

_NOTE = "# Written by unasync.py. Change keyward/_async/{} and run it.\n"


def _name(text: str) -> str:
    return _NAMES.get(text) or re.sub(r"^Async(?=[A-Z])", "", text)


def _text(text: str) -> str:
    """What stands in a string: an example in a docstring, a type in quotes."""
    text = re.sub(r"\b(?:async|await) ", "", text)
    return re.sub(r"\bAsync(?=[A-Z])", "", text)


def synchronous(source: str) -> str:
    """Returns the source without anything asynchronous."""
    lines: List[str] = source.splitlines(keepends=True)
    edits: Dict[int, List[Tuple[int, int, str]]] = {}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        (row, start), (last, end) = token.start, token.end
        if token.string in ("async", "await"):
            edits.setdefault(row, []).append((start, end + 1, ""))
        elif token.type == tokenize.NAME:
            edits.setdefault(row, []).append((start, end, _name(token.string)))
        elif token.type in _STRINGS and row == last:
            edits.setdefault(row, []).append((start, end, _text(token.string)))
        elif token.type in _STRINGS:
            for number in range(row, last + 1):
                a, b = start if number == row else 0, end if number == last else len(lines[number - 1])
                edits.setdefault(number, []).append((a, b, _text(lines[number - 1][a:b])))
    for number, found in edits.items():
        line = lines[number - 1]
        for a, b, text in sorted(found, reverse=True):
            line = line[:a] + text + line[b:]
        lines[number - 1] = line
    return "".join(lines)


# From Python 3.12 on an f-string is several tokens, of which its text is one.
_STRINGS = {tokenize.STRING} | {getattr(tokenize, name) for name in ("FSTRING_MIDDLE",) if hasattr(tokenize, name)}


def generated(name: str) -> str:
    """Returns what a file of keyward/_sync has to be."""
    return _NOTE.format(name) + synchronous((HERE / "_async" / name).read_text("utf-8"))


def main() -> None:
    for name in FILES:
        (HERE / "_sync" / name).write_text(generated(name), "utf-8")


if __name__ == "__main__":
    main()
