"""`python -m kdistill.settings` prints docs/settings.md: all settings with their defaults, bounds and help."""

from kdistill.settings.help import reference

TITLE = "# Settings\n\nEach is a flag of the same name. Written by `python -m kdistill.settings > docs/settings.md`.\n"


def page() -> str:
    """Returns the page."""
    return f"{TITLE}\n{reference()}"


if __name__ == "__main__":
    print(page(), end="")
