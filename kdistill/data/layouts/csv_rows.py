"""Rows of comma-separated text in which names may hold commas, quotes and line breaks."""

import re
from collections.abc import Iterator

# A field in quotes ("" for a quote inside it), or anything up to the next comma; around both, blanks do not count. What
# opens a quote and does not close it is a plain field that begins with a quote.
_FIELD = re.compile(r'[^\S\r\n]*(?:"([^"]*+(?:""[^"]*+)*+)"[^\S\r\n]*(?=,|\r|\n|\Z)|([^,\r\n]*))')
_LINE_END = re.compile(r"\r\n|\r|\n")


def csv_rows(text: str) -> Iterator[tuple[int, list[str]]]:
    """Yields (number of the line, from 1, and fields) of each row.

    Quotes, doubled quotes, commas and any of the three line ends are read as Python's `csv` does. Blanks around a field
    are dropped, unless it stands in quotes.
    """
    place, line, length = 0, 1, len(text)
    while place < length:
        begun, fields = line, []
        while True:
            found = _FIELD.match(text, place)
            assert found is not None  # it matches the empty text
            quoted, plain = found.groups()
            fields.append(plain.strip() if quoted is None else quoted.replace('""', '"'))
            if quoted is not None:
                line += len(_LINE_END.findall(quoted))
            place = found.end()
            if place == length or text[place] != ",":
                break
            place += 1
        end = _LINE_END.match(text, place)
        place = end.end() if end else length
        line += 1
        yield begun, fields
