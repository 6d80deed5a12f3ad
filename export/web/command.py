"""The command `python -m export web`."""

import argparse
from pathlib import Path

from kdistill.console.keras_settings import check_keras_settings
from kdistill.console.quiet import quiet
from kdistill.errors import KdistillError

DESCRIPTION = "Build a page that embeds and searches in the visitor's browser."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments to its parser."""
    parser.add_argument("--run", type=Path, required=True, help="work folder of a run, evaluated")
    parser.add_argument("--out", type=Path, required=True, help="folder for the site; an older site is replaced")
    parser.add_argument("--data_dir", help="where the run's images are, if they have moved")
    parser.add_argument("--title", default="", help="heading of the page (default: Search in DATA SET)")


def run(arguments: argparse.Namespace) -> int:
    """Builds the site, says how to look at it, and returns the exit status."""
    if not arguments.run.is_dir():
        raise KdistillError(f"the run {str(arguments.run)!r} does not exist")
    check_keras_settings()
    with quiet():
        from export.web.build import build_site  # TensorFlow
    build_site(arguments.run, arguments.out, data_dir=arguments.data_dir, title=arguments.title)
    print(f"The site is in {arguments.out}. To look at it: python -m http.server --directory {arguments.out} 8000")
    return 0
