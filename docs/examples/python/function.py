"""A hot function in Python: how long is each word of a text?"""

from __future__ import annotations

import re

from hotfn_function import BadCall, Call, serve


def lengths(call: Call) -> dict[str, int]:
    words = re.findall(r"\w+", call.text())
    if not words:
        raise BadCall("there is no word in it")
    return {word: len(word) for word in words}


if __name__ == "__main__":
    serve(lengths)
