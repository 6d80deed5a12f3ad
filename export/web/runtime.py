"""The browser's runtime (LiteRT, npm package @litertjs/core): fetched by npm when a site is built, never committed."""

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from kdistill.errors import KdistillError

FOLDER = Path(__file__).parent
PACKAGES = ("@litertjs/core", "@litertjs/wasm-utils")

BUILDS = {"fast": "litert_wasm_internal", "compatible": "litert_wasm_compat_internal"}
"""The builds of the runtime: `fast` needs a browser with relaxed SIMD, `compatible` does not."""


def runtime_packages() -> Path:
    """Returns the `node_modules` folder that holds the runtime at the versions of the lock file.

    A checkout where `npm ci` was run is used as it is; otherwise the packages go into the user's cache once.

    Raises:
        KdistillError: npm is missing or fails.
    """
    lock = (FOLDER / "package-lock.json").read_bytes()
    if _is_complete(FOLDER / "node_modules", lock):
        return FOLDER / "node_modules"
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kdistill"
    target = cache / f"web-runtime-{hashlib.sha256(lock).hexdigest()[:12]}"
    if not _is_complete(target / "node_modules", lock):
        _install(target)
    return target / "node_modules"


def _is_complete(modules: Path, lock: bytes) -> bool:
    """Says whether both packages are there at the locked versions."""
    locked = json.loads(lock)["packages"]
    try:
        return all(_package(modules, name)["version"] == locked[f"node_modules/{name}"]["version"] for name in PACKAGES)
    except (OSError, ValueError):
        return False


def _package(modules: Path, name: str) -> dict[str, str]:
    return dict(json.loads((modules / name / "package.json").read_text(encoding="utf-8")))


def _install(target: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise KdistillError(
            "npm is needed to fetch the browser's runtime (@litertjs/core) and was not found; "
            "install Node.js 20 or newer, which brings it"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as temporary:
        for name in ("package.json", "package-lock.json"):
            shutil.copy(FOLDER / name, temporary)
        command = [npm, "ci", "--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        result = subprocess.run(command, cwd=temporary, capture_output=True, text=True, check=False)
        if result.returncode:
            reason = next((line for line in result.stderr.splitlines() if line.strip()), "no reason given")
            raise KdistillError(f"npm could not fetch the browser's runtime (@litertjs/core): {reason}")
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(temporary, target)


def copy_runtime(modules: Path, site: Path) -> str:
    """Places the runtime's script under SITE/runtime, its licence beside it, and returns its version.

    The WebAssembly builds are left to the caller (`build_files`), which compresses them.

    Raises:
        KdistillError: the package is laid out otherwise than the version this was written for.
    """
    runtime = site / "runtime"
    runtime.mkdir(parents=True)
    core = (modules / "@litertjs/core/dist/index.js").read_text(encoding="utf-8")
    # Browsers resolve addresses, not package names; an import map would need an inline script.
    bare = '"@litertjs/wasm-utils"'
    if core.count(bare) != 1:
        raise KdistillError(f"@litertjs/core does not import {bare} once, as this program expects")
    (runtime / "litert.js").write_text(core.replace(bare, '"./wasm-utils.js"'), encoding="utf-8")
    shutil.copy(modules / "@litertjs/wasm-utils/dist/index.js", runtime / "wasm-utils.js")
    # The packages name their licence and bring no text of it; this is that text.
    shutil.copy(FOLDER / "LICENSE-LITERT.txt", runtime / "LICENSE.txt")
    packages = [_package(modules, name) for name in PACKAGES]
    (runtime / "NOTICE.txt").write_text(
        "Files of these npm packages, licensed as LICENSE.txt says. In litert.js one import was made relative, and\n"
        "the .wasm files are compressed; nothing else was changed.\n\n"
        + "".join(f"{package['name']} {package['version']}, {package['license']}\n" for package in packages)
        + "Source: github.com/google-ai-edge/LiteRT (litert/js)\n",
        encoding="utf-8",
    )
    return packages[0]["version"]


def build_files(modules: Path, build: str) -> tuple[Path, Path]:
    """Returns the script and the WebAssembly file of one of BUILDS."""
    folder = modules / "@litertjs/core/wasm"
    return folder / f"{BUILDS[build]}.js", folder / f"{BUILDS[build]}.wasm"
