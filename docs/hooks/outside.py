"""A hook of MkDocs: takes along what pages link to outside docs/, so that links of the repository work in the site.

The README becomes the first page. Markdown files become pages, all other files are served as they are.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

REPOSITORY = Path(__file__).parents[2]
PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "CONTRIBUTING.md", "CHANGELOG.md": "CHANGELOG.md"}
"""Path in the repository -> path in the site, of pages that stand in the navigation whether or not one links there."""
_LINK = re.compile(r"(\]\()(?!\w+:|#|/)([^)#\s]+)((?:#[^)\s]*)?\))")
_FENCED = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the files to which pages link, and those to which these link."""
    waiting = [f"docs/{file.src_uri}" for file in files.documentation_pages()] + list(PAGES)
    seen = set(waiting)
    for path in waiting:
        if not path.startswith("docs/"):
            files.append(File.generated(config, _in_site(path), abs_src_path=str(REPOSITORY / path)))
        if path.endswith(".md"):
            found = {_of_link(path, match[2]) for match in _LINK.finditer((REPOSITORY / path).read_text("utf-8"))}
            new = {one for one in found - seen if not one.startswith("docs/") and (REPOSITORY / one).is_file()}
            seen |= new
            waiting += sorted(new)
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turns links of the repository into links of the site."""
    outside = {_in_site(path): path for path in PAGES}
    uri = page.file.src_uri
    path = outside.get(uri) or (uri if not Path(config.docs_dir, uri).exists() else f"docs/{uri}")

    def moved(match: re.Match[str]) -> str:
        target = _in_site(_of_link(path, match[2]))
        return f"{match[1]}{posixpath.relpath(target, posixpath.dirname(uri) or '.')}{match[3]}"

    parts = _FENCED.split(markdown)
    return "".join(part if part.startswith("```") else _LINK.sub(moved, part) for part in parts)


def _of_link(path: str, link: str) -> str:
    """Returns where in the repository a link of the file `path` leads."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(path), link))


def _in_site(path: str) -> str:
    return PAGES.get(path, path.removeprefix("docs/"))
