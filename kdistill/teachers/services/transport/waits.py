"""How long to wait before a service is asked again: what it asks for, or exponential back-off."""

import datetime
import email.utils
import math
import random
import re
import time
from collections.abc import Mapping

LONGEST_BACKOFF = 60.0
"""Seconds; five waits for a limit, doubling up to here, are over 90 seconds: longer than a limit by the minute."""

MAX_WAIT = 600.0
"""Seconds; a service that asks by Retry-After to wait longer ends the run."""

_FIRST_WAIT, _FIRST_WAIT_FOR_LIMIT = 1.0, 4.0
_JITTER = 0.8  # waits are this to all of the nominal one
_EPOCH = 1e9  # a larger number of seconds is a time since 1970
_UNITS = {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def backoff(attempt: int, *, limit: bool = False) -> float:
    """Returns seconds: doubling with each attempt (from 0), with jitter so that many clients do not return at once.

    With `limit`, for a service that answers too many questions only after a while, it begins with longer waits.
    """
    first = _FIRST_WAIT_FOR_LIMIT if limit else _FIRST_WAIT
    return min(LONGEST_BACKOFF, first * 2.0 ** min(attempt, 10)) * random.uniform(_JITTER, 1.0)


def asked_wait(headers: Mapping[str, str]) -> float | None:
    """Returns the seconds for which a service asks by Retry-After (RFC 9110, 10.2.3) or its kin; None without."""
    named = {name.lower(): value for name, value in headers.items()}
    milliseconds = _seconds(named.get("retry-after-ms", ""))
    if milliseconds is not None and milliseconds < _EPOCH:
        return milliseconds / 1000
    return _seconds(named.get("retry-after", ""))


def limit_reset(headers: Mapping[str, str]) -> float | None:
    """Returns the seconds until the limits that are used up begin anew, None where no header tells.

    `x-ratelimit-reset-requests: 6m0s`, `ratelimit-reset: 30`, `anthropic-ratelimit-tokens-reset: 2026-01-01T00:00:00Z`
    and the like; of a limit whose header for what remains is above 0, nothing. What lies beyond MAX_WAIT is another
    limit, or a hopeless one, and is left to the back-off.
    """
    named = {name.lower(): value for name, value in headers.items()}
    waits = []
    for name, value in named.items():
        if "ratelimit" not in name.replace("-", "").replace("_", "") or "reset" not in name:
            continue
        remaining = _seconds(named.get(name.replace("reset", "remaining"), ""))
        wait = _seconds(value)
        if wait is not None and wait <= MAX_WAIT and not (remaining is not None and remaining > 0):
            waits.append(wait)
    return max(waits, default=None)


def used_up(headers: Mapping[str, str]) -> float | None:
    """Returns the seconds until a limit begins anew of which the headers say that nothing remains, else None."""
    named = {name.lower(): value for name, value in headers.items()}
    spent = {
        name.replace("remaining", "reset")
        for name, value in named.items()
        if "ratelimit" in name.replace("-", "").replace("_", "") and "remaining" in name and _seconds(value) == 0
    }
    return limit_reset({name: value for name, value in named.items() if name in spent})


def _seconds(value: str) -> float | None:
    """Reads seconds, a duration such as `1m30s`, or a moment: seconds since 1970, ISO 8601, an HTTP date."""
    text = str(value).strip()[:100]
    if re.fullmatch(r"[0-9]{1,40}(\.[0-9]{1,40})?", text):
        number = float(text)
        if number > 1e3 * _EPOCH:  # milliseconds since 1970
            number /= 1e3 if number < 1e6 * _EPOCH else 1.0
        return max(0.0, number - time.time()) if _EPOCH < number < 10 * _EPOCH else number
    if re.fullmatch(r"([0-9]{1,9}(\.[0-9]{1,9})?(ms|s|m|h|d))+", text):
        return math.fsum(float(number) * _UNITS[unit] for number, unit in re.findall(r"([0-9.]+)(ms|s|m|h|d)", text))
    for read in (email.utils.parsedate_to_datetime, datetime.datetime.fromisoformat):
        try:
            moment = read(text)
            if moment.tzinfo is None:
                moment = moment.replace(tzinfo=datetime.UTC)
            return max(0.0, moment.timestamp() - time.time())
        except (ValueError, TypeError, OverflowError):
            continue
    return None
