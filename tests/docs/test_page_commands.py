"""Every command of the pages is one that the programs take, and every block of another language is looked at somewhere.

The Start page is run as it stands (`test_start_page.py`). Of all other commands the arguments are read by the real
parsers and the settings by all their checks, a dry run: whole runs take minutes and data that the repository does not
hold, and what each does is tested where it lives. Python is run by `test_page_snippets.py`.
"""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from shown_blocks import BLOCKS, REPOSITORY, blocks_of, commands_of

from kdistill.facts.extras import EXTRAS
from kdistill.teachers.services.forms.form import read_form

GIVEN = (
    *("photo.jpg", "teacher.onnx", "teacher.npz", "dinov2.keras", "vectors.npz", "places.json", "FILE"),
    *("DIR/teacher_expert.npz", "DIR/pool.txt", "DIR/test.txt", "DIR/val.txt"),
    *(f"weights/mobilenet_v2_{width}_imagenet_notop.weights.h5" for width in ("0.35", "1.00")),
    "weights/efficientnet_lite0_imagenet_pooled.keras",
    *("catalogue.parquet", "old.parquet", "new.npz", "runs/across/retriever.tflite", "runs/across/space.npz"),
    "runs/grocery/student.keras",
    *(f"runs/mine/{name}.tflite" for name in ("retriever", "student_float16", "student_int8")),
)
"""Files that commands name and that a reader is told to have."""
FOLDERS = ("photos", "PHOTOS", "DIR", "weights")
KEYS = ("JINA_API_KEY", "MY_KEY")
SCRIPTS = {path.name for path in (REPOSITORY / "export" / "examples" / "python").glob("*.py")}
COMMANDS = [(block.page, command) for block in BLOCKS if block.language == "sh" for command in commands_of(block)]


def words_of(command: str) -> list[str]:
    """Returns the words of a command without what the shell itself takes: comment, variables before it, redirection."""
    words = shlex.split(command.partition(" >")[0], comments=True)
    while words and re.fullmatch(r"[A-Z_]+=.*", words[0], re.DOTALL):
        words.pop(0)
    return words


def read_without_a_parser(words: list[str]) -> bool | None:
    """Says of the few commands that have no parser of ours whether they can be given; None for all others."""
    match words:
        case ["make", target]:
            return f"\n{target}:" in (REPOSITORY / "Makefile").read_text(encoding="utf-8")
        case ["pip", "install", wanted] | ["python", "-m", "pip", "install", wanted]:
            named = re.fullmatch(r"kdistill\[(\w+)\]", wanted)
            return wanted == "." or (named is not None and named[1] in EXTRAS)
        case ["export", assignment]:
            return re.fullmatch(r"[A-Z_]+=.+", assignment) is not None
        case ["kdistill", "doctor"]:
            return True
        case ["python", script, *_] if script.endswith(".py") and script != "main.py":
            return (REPOSITORY / script).is_file() or Path(script).name in SCRIPTS
    return None


@pytest.fixture(scope="module")
def read(tmp_path_factory):
    """(page, command) -> what the program says against it."""
    folder = tmp_path_factory.mktemp("commands")
    for name in FOLDERS:
        (folder / name).mkdir()
    for name in GIVEN:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    (folder / "configs").symlink_to(REPOSITORY / "configs")
    for block in BLOCKS:
        if block.file:
            (folder / block.file).write_text(block.text, encoding="utf-8")
    asked = [one for one in COMMANDS if read_without_a_parser(words_of(one[1])) is None]
    commands: list[dict[str, object]] = []
    for _, command in asked:
        words = words_of(command)
        kept = [word for word in words if not word.endswith("...")]
        start = kept[1:] if kept[0] == "kdistill" else kept[2:] if kept[1] == "main.py" else kept
        commands.append({"words": start, "elided": kept != words})
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("dry_commands.py"))],
        input=json.dumps(commands),
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), **dict.fromkeys(KEYS, "a-key")},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return dict(zip(asked, json.loads(done.stdout.splitlines()[-1]), strict=True))


@pytest.mark.long
def test_programs_take_every_command(read):
    assert len(read) > 60
    extras = re.compile(rf"pip install 'kdistill\[({'|'.join(EXTRAS)})\]'")
    refused = {one: said for one, said in read.items() if said}
    # A page may ask for a package that is not installed here, if the program says which extra brings it.
    assert {one: said for one, said in refused.items() if not extras.search(said)} == {}
    assert len(refused) <= 2


def test_commands_of_other_programs_name_what_exists():
    assert [one for one in COMMANDS if read_without_a_parser(words_of(one[1])) is False] == []


def test_every_block_says_its_language_and_is_run_read_or_marked():
    for block in BLOCKS:
        if block.reason:
            assert len(block.reason.split()) > 3, block
        elif block.language == "text":
            assert block.file, (block.page, "what is no output of a command is marked, or begins with its file's name")
        else:
            assert block.language in {"sh", "python", "json"}, block


def test_no_code_hides_in_an_indented_block():
    for page in {block.page for block in BLOCKS}:
        text = re.sub(
            r"^( *)```.*?^\1```$", "", (REPOSITORY / page).read_text(encoding="utf-8"), flags=re.M | re.DOTALL
        )
        assert re.findall(r"(?:^|\n)\n {4,}(?![-*] |\d+\. |and |Errors)\S.*", text) == [], page


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language == "json"], ids=lambda block: block.page)
def test_json_is_json(block, tmp_path):
    full = re.sub(r", \.\.\.", "", block.text)
    full = re.sub(r"(?<=[\[ ])(?!null|true|false)([a-z]+)(?=[,\]])", r'"\1"', full)
    parts = full.splitlines() if full.count('\n{"') else [full]
    for part in parts:
        content = json.loads(part)
        if "request" in content:
            (tmp_path / "form.json").write_text(part, encoding="utf-8")
            read_form(str(tmp_path / "form.json"))


def test_a_wrong_page_is_noticed(tmp_path):
    assert words_of("A=1 python -m export add --ids 'a b' > x  # why") == [
        "python",
        "-m",
        "export",
        "add",
        "--ids",
        "a b",
    ]
    assert read_without_a_parser(["make", "nothing"]) is False
    assert read_without_a_parser(["pip", "install", "kdistill[nothing]"]) is False
    assert read_without_a_parser(["python", "nowhere.py"]) is False
    page = REPOSITORY / "docs" / "start.md"
    (named,) = [block for block in blocks_of(page) if block.file]
    assert (named.file, named.language, named.reason) == ("my_teacher.py", "python", "")
