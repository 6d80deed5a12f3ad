"""A request's JSON as people can read it: long texts and lists cut, with what was left out said in words."""

from typing import Any

_TEXT, _HEAD, _LIST = 200, 24, 3


def shortened(body: Any) -> Any:
    """Returns JSON of the same form in which no text or list is long."""
    if isinstance(body, str):
        # What a person wrote, such as a question, stays; base64 has no spaces.
        return body if len(body) <= 40 or " " in body[:_TEXT] else f"{body[:_HEAD]}... ({len(body):,} characters)"
    if isinstance(body, dict):
        return {name: shortened(value) for name, value in body.items()}
    if isinstance(body, list):
        shown = [shortened(entry) for entry in body[:_LIST]]
        return (
            [shortened(entry) for entry in body]
            if len(body) <= _LIST + 1
            else [*shown, f"... {len(body) - _LIST:,} more"]
        )
    return body
