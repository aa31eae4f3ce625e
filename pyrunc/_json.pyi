"""pyrunc._json: the reader of JSON, written in C (native/json.c). pyrunc.jsontext is what the rest of the code uses."""

from typing import Any

def read(data: bytes, max_depth: int, surrogates: bool, /) -> Any:
    """The value of a JSON text, which must be UTF-8. surrogates: take \\udc80 to \\udcff alone.

    Raises ValueError(reason, byte, path, detail): why, where in the text, the names (str) and indexes (int) that lead
    there, and the name, number or string that is wrong, or None.
    """
