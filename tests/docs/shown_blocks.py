"""What the pages show in fences: each block with its page, language, and why it is not run, where it says so."""

import dataclasses
import re
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
PAGES = [
    REPOSITORY / "README.md",
    *sorted((REPOSITORY / "docs").glob("*.md")),
    REPOSITORY / "CONTRIBUTING.md",
    *sorted((REPOSITORY / "benchmarks" / "results").glob("*.md")),
]
_FENCE = re.compile(r"^(?:<!-- not run: ([^\n]*?) -->\n)?( *)```(\w*)\n(.*?)^\2```$", re.MULTILINE | re.DOTALL)


@dataclasses.dataclass(frozen=True)
class Block:
    """A block of a page.

    Attributes:
        page: path from the repository.
        language: what stands behind the fence.
        text: what stands in it, without the indentation of a list.
        reason: why it is not run, empty where it is.
    """

    page: str
    language: str
    text: str
    reason: str

    @property
    def file(self) -> str:
        """The file that a block is, where its first line says so: `# mine.py`."""
        named = re.match(r"# ([\w.]+\.(?:py|flags|json))\n", self.text)
        return named[1] if named else ""


def blocks_of(path: Path) -> list[Block]:
    """Returns the blocks of a page, from top to bottom."""
    found = []
    for reason, indentation, language, text in _FENCE.findall(path.read_text(encoding="utf-8")):
        lines = [line.removeprefix(indentation) for line in text.splitlines(keepends=True)]
        found.append(Block(str(path.relative_to(REPOSITORY)), language, "".join(lines), reason))
    return found


BLOCKS = [block for page in PAGES for block in blocks_of(page)]


def commands_of(block: Block) -> list[str]:
    """Returns the commands of a block of shell: continued lines as one, without what stands alone as a comment."""
    lines = block.text.replace("\\\n", " ").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.strip().startswith("#")]
