"""The example apps name what stands in a retriever and its sidecar, resize as the page does, and are whole."""

import hashlib
import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
import yaml
from ai_edge_litert.interpreter import Interpreter

from export.retriever.build import build_retriever

REPOSITORY = Path(__file__).parents[2]
EXAMPLES = REPOSITORY / "export" / "examples"
ANDROID, IOS = EXAMPLES / "android", EXAMPLES / "ios"
KOTLIN = ANDROID / "app/src/main/java/kdistill/photosearch"
SWIFT = IOS / "PhotoSearch"
MANIFEST = ANDROID / "app/src/main/AndroidManifest.xml"
ATTRIBUTE = "{http://schemas.android.com/apk/res/android}"
K = 5
SOURCES = sorted(path for app in (ANDROID, IOS) for path in app.rglob("*") if path.suffix in (".kt", ".kts", ".swift"))


def text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def retriever(student, embeddings, tmp_path_factory):
    path = tmp_path_factory.mktemp("apps") / "retriever.tflite"
    build_retriever(student, embeddings, [f"{row}.jpg" for row in range(len(embeddings))], path, k=K)
    return path


@pytest.fixture(scope="module")
def runner(retriever):
    return Interpreter(str(retriever)).get_signature_runner("search")


@pytest.fixture(scope="module")
def sidecar(retriever):
    return json.loads(text(retriever.with_suffix(".json")))


def test_names_are_those_of_the_signature(runner):
    names = {"search"} | runner.get_input_details().keys() | runner.get_output_details().keys()
    kotlin = text(KOTLIN / "PhotoSearch.kt")
    (call,) = re.findall(r"runSignature\((.*)\)", kotlin)
    assert set(re.findall(r'"(\w+)"', call)) == names
    assert re.findall(r'getInputTensorFromSignature\("(\w+)", "(\w+)"\)', kotlin) == [("image", "search")]
    swift = text(SWIFT / "PhotoSearch.swift")
    assert set(re.findall(r'(?:named: |signatureRunner\(with: |with: \[)"(\w+)"', swift)) == names


def test_types_and_sizes_are_those_of_the_tensors(runner, pixels):
    image, outputs = runner.get_input_details()["image"], runner.get_output_details()
    assert (image["dtype"], image["shape"].tolist()) == (np.uint8, [1, pixels.shape[1], pixels.shape[1], 3])
    kotlin, swift = text(KOTLIN / "PhotoSearch.kt"), text(SWIFT / "PhotoSearch.swift")
    assert "size = interpreter.getInputTensorFromSignature" in kotlin
    assert '"search").shape()[1]' in kotlin
    assert "ByteBuffer.allocateDirect(size * size * 3).order(ByteOrder.nativeOrder())" in kotlin
    assert 'size = try runner.input(named: "image").shape.dimensions[1]' in swift
    types = {"scores": ("FloatArray", "Float32", np.float32), "ids": ("IntArray", "Int32", np.int32)}
    for name, (in_kotlin, in_swift, dtype) in types.items():
        assert (outputs[name]["dtype"], outputs[name]["shape"].tolist()) == (dtype, [K])
        assert f"val {name} = {in_kotlin}(k)" in kotlin
        assert re.search(rf'output\(named: "{name}"\)[^}}]*{in_swift}\.self', swift)


def test_fields_are_those_of_the_sidecar(retriever, sidecar):
    kotlin = dict(re.findall(r'sidecar\.get(\w+)\("(\w+)"\)', text(KOTLIN / "PhotoSearch.kt")))
    assert kotlin == {"String": "sha256", "JSONArray": "ids", "Int": "k"}
    (fields,) = re.findall(r"struct Sidecar: Decodable \{(.*?)\}", text(SWIFT / "PhotoSearch.swift"), re.S)
    swift = dict(re.findall(r"let (\w+): (\S+)", fields))
    assert swift == {"ids": "[String]", "k": "Int", "sha256": "String"}
    assert sidecar["sha256"] == hashlib.sha256(retriever.read_bytes()).hexdigest()
    assert sidecar["k"] == K
    assert all(isinstance(name, str) for name in sidecar["ids"])


def steps(source: str) -> dict[str, list[str]]:
    """Returns what each variable of the weights is made from, without types, conversions and brackets.

    Numbers are kept by value and names in small letters, so the languages' spellings agree.
    """
    found = {}
    for line in re.findall(
        r"\b(scale|reach|taps|centre|start|count|row\[tap\]|weights\[target \* taps \+ tap\]) = (.+)", source
    ):
        words = re.findall(r"[A-Za-z_]\w*|\d+\.?\d*|[-+*/]", line[1].partition("//")[0])
        kept = [word for word in words if word not in ("Math", "trunc", "toInt", "toDouble", "Int", "Int32", "Double")]
        spelt = [str(float(word)) if word[0].isdigit() else word.replace("_", "").lower() for word in kept]
        found.setdefault(line[0], spelt)
    return found


@pytest.mark.parametrize("port", [KOTLIN / "PillowResize.kt", SWIFT / "PillowResize.swift"], ids=["kotlin", "swift"])
def test_the_resize_is_that_of_the_page(port):
    page = text(REPOSITORY / "export" / "web" / "static" / "resize.js")
    expected = steps(page)
    assert len(expected) == 8
    assert steps(text(port)) == expected
    tall = "height > size && height - size > 2 * (width - size)"
    assert tall in page
    assert tall in text(port)
    bits = re.search(r"PRECISION_BITS = (\d+)", page).group(1)
    assert re.search(rf"(PRECISION_BITS|precisionBits: Int32) = {bits}\b", text(port))


def test_versions_are_those_of_the_docs():
    gradle = [*re.findall(r'"([\w.:-]+):([\d.]+)"', text(ANDROID / "app/build.gradle.kts"))]
    gradle += re.findall(r'id\("([\w.]+)"\) version "([\d.]+)"', text(ANDROID / "build.gradle.kts"))
    assert len(gradle) == 3
    rows = dict(re.findall(r"^\| `(\S+)` \| ([\d.]+) \|", text(ANDROID / "README.md"), re.M))
    assert rows == dict(gradle)
    page = text(REPOSITORY / "docs" / "phone.md")
    assert f"`com.google.ai.edge.litert:litert:{rows['com.google.ai.edge.litert:litert']}`" in page
    ((pod, version),) = re.findall(r"pod '(\w+)', '([\d.]+)'", text(IOS / "Podfile"))
    assert f"`{pod}` {version}" in page
    assert f"`{pod}` {version}" in text(IOS / "README.md")


@pytest.mark.parametrize("app", [ANDROID, IOS], ids=["android", "ios"])
def test_the_readme_names_every_file(app):
    table = "\n".join(line for line in text(app / "README.md").splitlines() if line.startswith("| `"))
    named = {
        name
        for name in re.findall(r"`([^`]+)`", table)
        if re.search(r"\.(kts?|xml|yml|swift|properties)$|^Podfile$", name)
    }
    there = {str(path.relative_to(app)) for path in app.rglob("*") if path.is_file()}
    assert named == there - {"README.md"}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_brackets_balance(path):
    # Texts are taken out, with the brackets of what Kotlin and Swift put into them.
    code = re.sub(r'"(\\\([^"]*?\)|\\.|[^"\\])*"', '""', text(path))
    code = re.sub(r"//[^\n]*|/\*.*?\*/", "", code, flags=re.S)
    opened = []
    for sign in re.findall(r"[(){}\[\]]", code):
        if sign in "({[":
            opened.append(sign)
        else:
            assert opened
            assert opened.pop() + sign in ("()", "{}", "[]")
    assert not opened


def test_the_manifest_asks_for_nothing_and_starts_the_activity():
    manifest = ElementTree.fromstring(text(MANIFEST))
    assert not manifest.findall("uses-permission")
    (activity,) = manifest.iter("activity")
    name = activity.get(f"{ATTRIBUTE}name").removeprefix(".")
    assert f"class {name}(" in text(KOTLIN / f"{name}.kt") or f"class {name} :" in text(KOTLIN / f"{name}.kt")
    (namespace,) = re.findall(r'namespace = "([\w.]+)"', text(ANDROID / "app/build.gradle.kts"))
    for source in KOTLIN.glob("*.kt"):
        assert text(source).startswith(f"package {namespace}\n")
    assert KOTLIN.relative_to(ANDROID / "app/src/main/java").as_posix() == namespace.replace(".", "/")
    assert 'noCompress += "tflite"' in text(ANDROID / "app/build.gradle.kts")


def test_the_project_of_xcode_and_the_podfile_agree():
    project = yaml.safe_load(text(IOS / "project.yml"))
    ((name, target),) = project["targets"].items()
    podfile = text(IOS / "Podfile")
    assert re.findall(r"target '(\w+)' do\n", podfile) == [name] == [project["name"]]
    assert podfile.rstrip().endswith("end")
    assert re.findall(r"platform :ios, '([\d.]+)'", podfile) == [project["options"]["deploymentTarget"]["iOS"]]
    assert [IOS / source for source in target["sources"]] == [SWIFT]
