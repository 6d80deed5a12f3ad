"""What a service says in an error answer, in a sentence that holds no secret."""

import html
import json
import re
import urllib.parse
from collections.abc import Iterable, Mapping
from typing import Any

MAX_BODY = 64 << 10
"""Bytes of an error answer that are read."""

_SHOWN = 300  # characters
_LEAST_SECRET = 4  # characters; what is shorter keeps nothing secret and would tear holes into every sentence
_TOLD_BY = ("error", "message", "detail", "errors", "error_message", "msg", "error_description", "description", "title")
_CREDENTIALS = re.compile(r"(?i)\b(bearer|basic|token|api[-_ ]?key)([\s:=\"']+)[\w.~+/=-]{8,}")
_QUERY = re.compile(r"(?i)([?&;][\w.-]*(?:key|token|secret|sig|auth|pass|pwd|credential|code)[\w.-]*=)[^\s&;'\"<>)]+")
_USER = re.compile(r"(?i)\b(https?://)[^\s/@'\"]+@")
_KEY = re.compile(r"\b(?:sk|pk|rk|hf|ghp|gho|glpat|xox[abp])[-_][\w-]{8,}|\b(?:AIza|AKIA|eyJ)[\w.-]{12,}")
"""What keys of services look like, wherever one stands."""


def secrets_of(url: str, headers: Mapping[str, str]) -> list[str]:
    """Returns the texts that no message may hold: the headers' values, with and without scheme, and the URL's query."""
    found = set()
    for value in headers.values():
        found |= {value, value.partition(" ")[2].strip() or value}
    query = urllib.parse.urlsplit(url).query
    found |= {query, *(part.partition("=")[2] for part in re.split("[&;]", query))}
    found |= {value for _, value in urllib.parse.parse_qsl(query)}
    found |= {urllib.parse.quote(text, safe="") for text in found} | {json.dumps(text)[1:-1] for text in found}
    return sorted((text for text in found if len(text) >= _LEAST_SECRET), key=len, reverse=True)


def told(status: int, phrase: str, body: bytes, secrets: Iterable[str]) -> str:
    """Returns "429 Too Many Requests: what the body says"."""
    message = message_of(body)
    if message.lower() == phrase.lower():
        message = ""
    return shown(f"{status} {phrase}".strip() + (f": {message}" if message else ""), secrets)


def message_of(body: bytes) -> str:
    """Returns what an error's body says: the message in its JSON, or its text without tags; empty if it is no text."""
    text = body[:MAX_BODY].decode("utf-8", "replace")
    if text.count("\ufffd") > len(text) // 20:
        return ""
    try:
        return _squeezed(_message(json.loads(text)))
    except (ValueError, RecursionError):
        pass
    if "<" in text:
        text = re.sub(r"(?is)<(script|style|head)\b.{0,20000}?</\1>|<[^<>]{0,2000}>", " ", text)
        text = html.unescape(text)
    return _squeezed(text)


def shown(text: str, secrets: Iterable[str]) -> str:
    """Returns the text without secrets, cut to a length that a sentence can carry."""
    for secret in secrets:
        text = text.replace(secret, "***")
    text = _USER.sub(r"\1***@", _QUERY.sub(r"\1***", _KEY.sub("***", text)))
    text = _CREDENTIALS.sub(r"\1\2***", text)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."


def _message(parsed: Any, depth: int = 0) -> str:
    """Returns the text that a JSON value holds under one of the usual names, or the value itself."""
    if isinstance(parsed, str):
        return parsed
    if isinstance(parsed, list):
        return "; ".join(filter(None, (_message(entry, depth + 1) for entry in parsed[:5]))) if depth < 5 else ""
    if not isinstance(parsed, dict):
        return "" if parsed is None else str(parsed)
    named = {str(name).lower(): value for name, value in parsed.items()}
    for name in _TOLD_BY:
        # {"error": true, "message": "..."}: a flag says nothing.
        if depth < 5 and isinstance(named.get(name), str | dict | list) and named[name]:
            found = _message(named[name], depth + 1)
            if found:
                return found
    return json.dumps(parsed)[: 2 * _SHOWN] if parsed else ""


def _squeezed(text: str) -> str:
    return " ".join(text.split())[: 20 * _SHOWN]
