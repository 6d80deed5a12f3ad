"""A PostgreSQL server of its own for a benchmark or test, gone when it is over."""

import contextlib
import glob
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa

BINARIES = "/usr/lib/postgresql/*/bin"  # where Debian's package puts what is not for users


def find_binaries() -> Path | None:
    """Returns the folder of `initdb` and `postgres`, or None where PostgreSQL is not installed."""
    folders = [*sorted(glob.glob(BINARIES), reverse=True), os.path.dirname(shutil.which("initdb") or "")]
    return next((Path(folder) for folder in folders if folder and Path(folder, "initdb").exists()), None)


@contextlib.contextmanager
def postgres_server(binaries: Path, *, durable: bool) -> Iterator[sa.URL]:
    """Starts a server on a free port of this machine; yields its address with a password.

    Args:
        binaries: folder of `initdb` and `postgres`.
        durable: whether commits wait for the disk, as they do in earnest.
    """
    # PostgreSQL refuses to run as root; the package's own user does not own pytest's folders.
    user: dict[str, Any] = dict(user="postgres", group="postgres", extra_groups=[]) if os.geteuid() == 0 else {}
    with tempfile.TemporaryDirectory(prefix="kdistill-postgres-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        password = secrets.token_urlsafe(12)
        (folder / "password").write_text(password)
        if user:
            for path in (folder, folder / "password"):
                shutil.chown(path, "postgres", "postgres")
        data = folder / "data"
        initialise = [str(binaries / "initdb"), "-D", str(data), "-U", "kdistill", "-A", "scram-sha-256", "-E", "UTF8"]
        options = ["--no-sync", "--no-locale", f"--pwfile={folder / 'password'}"]
        subprocess.run([*initialise, *options], check=True, capture_output=True, cwd=folder, **user)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        settings = {"listen_addresses": "127.0.0.1", "unix_socket_directories": folder, "max_connections": 60}
        if not durable:
            settings |= {"fsync": "off", "full_page_writes": "off"}
        flags = [f"--{key}={value}" for key, value in settings.items()]
        command = [str(binaries / "postgres"), "-D", str(data), "-p", str(port), *flags]
        with open(folder / "log", "w") as log:
            server = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, **user)
        try:
            ready = [str(binaries / "pg_isready"), "-h", "127.0.0.1", "-p", str(port), "-t", "1"]
            for _ in range(200):
                if subprocess.run(ready, capture_output=True, check=False).returncode == 0:
                    break
                with contextlib.suppress(subprocess.TimeoutExpired):
                    server.wait(0.1)
                    raise RuntimeError(f"PostgreSQL ended: {(folder / 'log').read_text()[-500:]}")
            yield sa.URL.create("postgresql+psycopg", "kdistill", password, "127.0.0.1", port, "postgres")
        finally:
            server.send_signal(2)  # fast shutdown: connections that are left are cut
            server.wait()


def fresh_schema(server: sa.URL) -> str:
    """Makes an empty schema and returns the address whose tables stand in it (password included)."""
    name = f"ledger_{secrets.token_hex(6)}"
    engine = sa.create_engine(server)
    with engine.begin() as connection:
        connection.execute(sa.schema.CreateSchema(name))
    engine.dispose()
    url = server.update_query_dict({"options": f"-csearch_path={name}"})
    return url.render_as_string(hide_password=False)
