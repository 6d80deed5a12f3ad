"""`python -m export.web`: the same as `python -m export web`."""

from export.web.command import main

if __name__ == "__main__":
    main()
