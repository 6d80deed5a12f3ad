"""Prints what an extra asks for, without the package itself: `python docs/hooks/requirements.py setup.cfg EXTRA`."""

import configparser
import sys

parser = configparser.ConfigParser()
parser.read(sys.argv[1], encoding="utf-8")
print(parser["options.extras_require"][sys.argv[2]].strip())
