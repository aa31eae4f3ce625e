"""The value of a flag that is a span of time, as Go writes it. Only `events` has one."""

from pyrunc.errors import UsageError

_UNITS = {"ns": 1, "us": 1000, "µs": 1000, "μs": 1000, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}


def duration(text: str, flag: str) -> int:
    """Nanoseconds of Go's time.ParseDuration: "5s", "100ms", "1h15m30.5s", "-1s". Raises UsageError."""
    rest = text[1:] if text[:1] in ("+", "-") else text
    total = 0
    if rest != "0":
        if not rest:
            raise _malformed(text, flag)
        while rest:
            number = rest[: len(rest) - len(rest.lstrip("0123456789."))]
            rest = rest[len(number) :]
            unit = rest[: len(rest) - len(rest.lstrip("nuµμmsh"))]
            rest = rest[len(unit) :]
            whole, _, part = number.partition(".")
            if unit not in _UNITS or not (whole + part).isdigit() or len(number) > 19 or "." in part:
                raise _malformed(text, flag)
            total += int(whole + part) * _UNITS[unit] // 10 ** len(part)
    if total >= 2**63:
        raise _malformed(text, flag)
    return -total if text[:1] == "-" else total


def _malformed(text: str, flag: str) -> UsageError:
    return UsageError(f'invalid value "{text}" for flag -{flag}: parse error')
