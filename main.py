"""Command line: flags in, stages out. See `python main.py --help` and the files in configs/."""

import dataclasses
import difflib
import importlib.util
import io
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn, cast

from absl import app, flags, logging

from export.stages import DEPLOYMENT_STAGES
from kdistill.console import doctor
from kdistill.console.keras_settings import check_keras_settings
from kdistill.console.quiet import quiet
from kdistill.errors import ArgumentError, run_command
from kdistill.settings import FIELDS, Settings, groups
from kdistill.settings.checks import check, check_effects
from kdistill.settings.help import help_text
from kdistill.settings.setting import values_of
from kdistill.stages import runner
from kdistill.stages.library import LIBRARY_STAGES
from kdistill.stages.stage import Registry
from kdistill.version import __version__

STAGES = Registry([*LIBRARY_STAGES, *DEPLOYMENT_STAGES])

_OWN = {
    "flagfile": "A file of flags, one a line; flags behind it overrule it.",
    "stages": f"Stages to run, of: {', '.join(STAGES.names)} [{','.join(STAGES.defaults)}]",
    "redo": "Run stages again that are done; answers already paid for are kept.",
}


def define_flags() -> None:
    """Defines one flag for each setting, with its default, choices and bounds."""
    for _, group in groups():
        for field in dataclasses.fields(group):
            _define(group, field.name)
    flags.DEFINE_list("stages", list(STAGES.defaults), _OWN["stages"])
    flags.DEFINE_boolean("redo", False, _OWN["redo"])


def settings_from_flags() -> Settings:
    """Returns the settings that the flags describe.

    Raises:
        ArgumentError: a value that cannot be right.
    """
    values = {name: getattr(flags.FLAGS, name) for name in FIELDS}
    try:
        values["scales"] = tuple(float(scale) for scale in values["scales"])
    except ValueError as error:
        raise ArgumentError(f"--scales takes numbers such as 1,0.7071,0.5: {error}") from error
    for name in ("teacher_headers", "trust_packages", "callbacks"):
        values[name] = tuple(values[name])
    for name, value in values.items():
        if value == "" and FIELDS[name].default is None:
            values[name] = None
        elif isinstance(value, str) and "{data_dir}" in value:
            # So that a flagfile can name files that lie with the data.
            values[name] = value.replace("{data_dir}", values["data_dir"] or ".")
    return Settings.of(**values)


def run_stages(settings: Settings, stages: Sequence[str], redo: bool) -> None:
    """Runs the stages in their order, each unless it is done; see `kdistill.stages.runner`.

    Raises:
        ArgumentError: an unknown stage, settings that cannot be right, or a folder that was made with others.
        KdistillError: a stage failed.
    """
    if settings.training.strategy == "multiworker" and "distill" in stages and not settings.asking.dry_run:
        check(settings)
        with quiet():
            from kdistill.stages.distilling.workers import Workers

        workers = Workers()
        if not workers.follow(settings):
            runner.run_stages(STAGES, settings, stages, redo=redo, before_training=workers.lead)
        return
    runner.run_stages(STAGES, settings, stages, redo=redo)


def main(arguments: Sequence[str]) -> None:
    """Runs the command line."""
    command_line = _named(sys.argv[1:])

    def run() -> None:
        check_keras_settings()
        if len(arguments) > 1:
            name = arguments[1].partition("=")[0].lstrip("-")
            close = difflib.get_close_matches(name, FIELDS, 1)
            hint = f"; did you mean --{close[0]}?" if close else ""
            raise ArgumentError(f"unexpected argument {arguments[1]!r}: settings are given as --name=value{hint}")
        settings = settings_from_flags()
        given = [name for name in FIELDS if flags.FLAGS[name].present]
        in_files = [name for name in given if name not in command_line]
        for told in check_effects(settings, [name for name in given if name in command_line], in_files):
            logging.info("%s", told)
        run_stages(settings, flags.FLAGS.stages, flags.FLAGS.redo)

    run_command(run, tracebacks=logging.get_verbosity() >= logging.DEBUG)


def cli() -> None:
    """The entry point `kdistill`; `doctor` behind it looks at the installation instead of running anything.

    Shipped flagfiles are found wherever the package is installed.
    """
    if sys.argv[1:2] == ["doctor"]:
        run_command(lambda: doctor.main(sys.argv[2:]))
        return
    define_flags()
    logging.set_verbosity(logging.INFO)
    # TensorFlow tells its inner news through the same logger; a user waits for ours.
    logging.get_absl_handler().addFilter(lambda record: "tensorflow" not in Path(record.pathname).parts)
    app.run(main, _with_shipped(sys.argv), flags_parser=_parse)


def _define(group: type, name: str) -> None:
    field, taken = FIELDS[name], values_of(group, name)
    text, default = field.metadata["help"], cast(Any, field.default)
    low, high, above = (field.metadata[bound] for bound in ("low", "high", "above"))
    if taken.kind is tuple:
        flags.DEFINE_list(name, [str(value) for value in default], text)
    elif taken.choices:
        # A flag that may be left out may be given as empty, as a flagfile writes it.
        flags.DEFINE_enum(name, default, [*taken.choices, *([""] if taken.optional else [])], text)
    elif taken.kind is bool:
        flags.DEFINE_boolean(name, default, text)
    elif taken.kind is int:
        flags.DEFINE_integer(name, default, text, lower_bound=low, upper_bound=high)
    elif taken.kind is float:
        flags.DEFINE_float(name, default, text, lower_bound=low if above is None else above, upper_bound=high)
    else:
        flags.DEFINE_string(name, default, text)


_HELP = {"help": False, "h": False, "?": False, "helpshort": False, "helpfull": True}
"""Flag -> whether it shows all settings."""


def _parse(arguments: Sequence[str]) -> list[str]:
    """Parses flags; a mistake is one sentence with exit status 2, and help is ours."""
    for argument in arguments[1:]:
        name, _, value = argument.lstrip("-").partition("=")
        if argument == "--":
            break
        if argument.startswith("-") and value.lower() not in ("false", "f", "0", "no", "n"):
            if name in _HELP:
                _show(f"{__doc__.splitlines()[0]}\n\n{help_text(_OWN.items(), everything=_HELP[name])}\n")
            elif name == "version":
                _show(f"kdistill {__version__}\n")
            elif name == "helpxml":
                text = io.StringIO()
                flags.FLAGS.write_help_in_xml_format(text)
                _show(text.getvalue())
    try:
        return flags.FLAGS(arguments)
    # Those of Python come from flagfiles that are no text.
    except (flags.Error, ValueError) as error:
        message = _in_words(error)
        run_command(lambda: _fail(message))
        raise


def _in_words(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "a file that --flagfile names is no UTF-8 text"
    rectangle = re.search(r"--(\w*image_size)=(\d+\s*[x,]\s*\d+)", str(error))
    if rectangle is not None:
        return (
            f"--{rectangle[1]}={rectangle[2]} names two sides; every image is resized to a square, so give one number "
            "of pixels"
        )
    message = re.sub(r"^ERROR:: Unable to open flagfile: (\[Errno \d+\] )?", "--flagfile cannot be read: ", str(error))
    return re.sub(r"\('Non-boolean argument to boolean flag', .*\)$", "it takes true or false", message)


def _fail(message: str) -> NoReturn:
    raise ArgumentError(message)


def _show(text: str) -> NoReturn:
    run_command(lambda: print(text, end=""))
    sys.exit(0)


def _named(arguments: Sequence[str]) -> set[str]:
    """Returns the names of settings that stand on the command line itself, outside flagfiles."""
    given = {argument.lstrip("-").partition("=")[0] for argument in arguments if argument.startswith("-")}
    return {name for name in FIELDS if name in given or f"no{name}" in given}


def _with_shipped(arguments: Sequence[str]) -> list[str]:
    """Turns configs/NAME.flags behind --flagfile into the installed file where there is none in this folder."""
    found = list(arguments)
    for place, argument in enumerate(arguments):
        name, equals, path = argument.partition("=")
        if argument.startswith("-") and name.lstrip("-") == "flagfile" and equals:
            found[place] = f"{name}={_shipped(path)}"
        elif argument in ("-flagfile", "--flagfile") and place + 1 < len(arguments):
            found[place + 1] = _shipped(arguments[place + 1])
    return found


def _shipped(path: str) -> str:
    if Path(path).exists() or Path(path).parent != Path("configs"):
        return path
    installed = importlib.util.find_spec("kdistill.configs")
    folders = installed.submodule_search_locations if installed is not None else None
    shipped = [Path(folder) / Path(path).name for folder in folders or [str(Path(__file__).parent / "configs")]]
    return next((str(file) for file in shipped if file.exists()), path)


if __name__ == "__main__":
    cli()
