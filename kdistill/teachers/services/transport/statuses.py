"""What an HTTP status says about a question: was it charged, and is it worth asking again?

The rule: a status by which the service itself says that it did not do the work is free. A status that something between
us and the service made up after it had passed the question on may stand for an answer that was lost, so it counts.
"""

import enum


class Verdict(enum.Enum):
    """The four things that a status can mean for a question."""

    ANSWER = "charged: the body is the answer"
    TRY_AGAIN = "not charged, asked again by the client"
    REFUSED = "not charged, final"
    LOST = "perhaps charged: unknown, asked again by the next reservation, which counts again"


_EXCEPTIONS: dict[int, tuple[Verdict, str]] = {
    408: (Verdict.LOST, "it timed out somewhere behind the first server"),
    425: (Verdict.TRY_AGAIN, "the service would not risk a replay"),
    429: (Verdict.TRY_AGAIN, "too many questions at a time"),
    460: (Verdict.LOST, "a balancer saw the connection close"),
    499: (Verdict.LOST, "a proxy saw the connection close"),
    500: (Verdict.TRY_AGAIN, "the service says that it failed"),
    501: (Verdict.REFUSED, "the service cannot do this"),
    503: (Verdict.TRY_AGAIN, "the service is not available"),
    505: (Verdict.REFUSED, "the service does not speak this version"),
    506: (Verdict.REFUSED, "the service is set up wrongly"),
    507: (Verdict.REFUSED, "the service has no room"),
    508: (Verdict.REFUSED, "the service runs in a circle"),
    510: (Verdict.REFUSED, "the service wants an extension"),
    511: (Verdict.REFUSED, "the network wants a login first"),
    525: (Verdict.REFUSED, "a proxy could not agree on TLS with the service"),
    526: (Verdict.REFUSED, "a proxy does not trust the service's certificate"),
    529: (Verdict.TRY_AGAIN, "the service is overloaded"),
    530: (Verdict.TRY_AGAIN, "a proxy could not find the service"),
    561: (Verdict.REFUSED, "a balancer's login refused it"),
}
_CLASSES: dict[int, tuple[Verdict, str]] = {
    1: (Verdict.LOST, "no final status, although the question was sent"),
    2: (Verdict.ANSWER, "answered"),
    3: (Verdict.REFUSED, "the service is elsewhere; redirects are not followed"),
    4: (Verdict.REFUSED, "the service turned the question away"),
    5: (Verdict.LOST, "a server on the way lost it, perhaps with its answer"),
}
_BY_THE_MINUTE = (429, 503, 529)


def verdict(status: int) -> Verdict:
    """Returns what a status means; what is not 100 to 599 is no status, and the question lost."""
    return _judged(status)[0]


def reason(status: int) -> str:
    """Returns why, in a few words."""
    return _judged(status)[1]


def is_limit(status: int) -> bool:
    """Says whether a status stands for a limit, which are by the minute: waits for it start longer."""
    return status in _BY_THE_MINUTE


def _judged(status: int) -> tuple[Verdict, str]:
    return _EXCEPTIONS.get(status) or _CLASSES.get(status // 100, (Verdict.LOST, "this is no status"))
