"""The page about the stages, from their registry."""

from kdistill.stages.stage import Registry

_HEAD = """# Stages

A run is a row of stages. `--stages` names those to run, without it all but those in brackets run. A stage that is done
is not run again, unless `--redo` says so or what it was made from has changed:

- **settings** that decide its result: the run is refused in a sentence that names the first one that differs;
- **images and files** that it read, by content, and files that it made: it runs again by itself, and says why;
- **a stage before it** that ran again: it is undone, and its figures leave `metrics.json`; its files stay until it runs
  again.

`stages.json` in the work folder holds all this for each finished stage, and `flags.txt` states the settings that they
were made with. One run at a time works in a folder.

| stage | what it does | settings (groups) | reads | makes | follows |
|---|---|---|---|---|---|
"""


def stages_page(registry: Registry) -> str:
    """Returns the page as Markdown."""
    rows = []
    for stage in registry:
        name = stage.name if stage.default else f"({stage.name})"
        settings = ", ".join([*stage.groups, *(f"`--{setting}`" for setting in stage.settings)]) or "–"
        reads = ", ".join([*stage.inputs, *(f"`{file}`" for file in stage.reads)])
        makes = ", ".join(f"`{file}`" for file in stage.makes) or "figures"
        follows = ", ".join(stage.follows) or "–"
        rows.append(f"| {name} | {stage.about} | {settings} | {reads} | {makes} | {follows} |\n")
    return _HEAD + "".join(rows)
