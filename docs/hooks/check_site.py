"""Checks a built site: `python docs/hooks/check_site.py FOLDER` (exit status 1 where a link leads nowhere).

Every link, picture and anchor within the site has to exist, and no page may load anything from another host: what a
reader clicks may lead outside, what a page fetches may not. MkDocs checks links in Markdown; this reads the HTML, so
that what plugins and the theme write counts, too.
"""

import posixpath
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

FETCHED = {"audio", "embed", "iframe", "img", "link", "script", "source", "video"}
"""Elements whose address is loaded with the page."""
NOT_FETCHED = {"canonical", "next", "prev"}
"""Of <link>: what only names another page."""


class Addresses(HTMLParser):
    """What a page links to, what it loads, and the anchors that it has."""

    def __init__(self) -> None:
        """Begins an empty page."""
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.anchors: set[str] = set()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        """Keeps the addresses of one element."""
        found = {name: value or "" for name, value in attributes}
        self.anchors |= {found[name] for name in ("id", "name") if name in found}
        for name in ("href", "src"):
            if name in found:
                fetched = tag in FETCHED and found.get("rel") not in NOT_FETCHED
                (self.loaded if fetched else self.links).append(found[name])


def faults(folder: Path) -> list[str]:
    """Returns a sentence for each address that leads nowhere, or that is loaded from another host."""
    pages = {}
    for path in sorted(folder.rglob("*.html")):
        pages[path.relative_to(folder).as_posix()] = page = Addresses()
        page.feed(path.read_text(encoding="utf-8"))
    found = []
    for name, page in pages.items():
        found += [f"{name} loads {url}" for url in page.loaded if urlsplit(url).netloc]
        # The page of what is not found serves any address, so its links begin at the root.
        here = "" if name == "404.html" else posixpath.dirname(name)
        for url in {*page.links, *page.loaded}:
            parts = urlsplit(url)
            if parts.scheme or parts.netloc:
                continue
            path = unquote(parts.path).lstrip("/")
            target = posixpath.normpath(posixpath.join(here, path)) if path else name
            if not (folder / target).exists():
                found.append(f"{name} links to {url}, which is not there")
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors:
                found.append(f"{name} links to {url}, which has no such anchor")
    return sorted(found)


if __name__ == "__main__":
    said = faults(Path(sys.argv[1]))
    print("\n".join(said) or "all links of the site lead somewhere, and no page loads anything from outside")
    sys.exit(bool(said))
