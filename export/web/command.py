"""The command `web`: the search page of a run."""

import argparse
import os
import sys
from pathlib import Path

from kdistill.errors import KdistillError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments to a parser of its own or to a subcommand's."""
    parser.add_argument("--run", required=True, metavar="DIR", help="work folder of a run, evaluated")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for the site; an older site is replaced")
    parser.add_argument("--data_dir", metavar="DIR", help="the run's images, if they are no longer where they were")
    parser.add_argument("--title", default="", help="heading of the page (default: Search in DATA SET)")


def run(arguments: argparse.Namespace) -> None:
    """Builds the site and says how to look at it."""
    if not Path(arguments.run).is_dir():
        raise KdistillError(f"the run {arguments.run!r} does not exist")
    # TensorFlow takes seconds to load: not before the arguments are known to be right. It talks while it does.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from export.web.build import build_site

    build_site(arguments.run, arguments.out, data_dir=arguments.data_dir, title=arguments.title)
    print(f"The site is in {arguments.out}. To look at it: python -m http.server --directory {arguments.out} 8000")


def main() -> None:
    """Runs the command on its own."""
    parser = argparse.ArgumentParser(prog="python -m export.web", description=__doc__)
    add_arguments(parser)
    try:
        run(parser.parse_args())
    except KdistillError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_status)


if __name__ == "__main__":
    main()
