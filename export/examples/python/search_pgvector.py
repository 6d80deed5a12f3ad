"""A photo against vectors in PostgreSQL with pgvector: `python search_pgvector.py STUDENT URI TABLE PHOTO`.

URI is postgresql://USER:PASSWORD@HOST/DATABASE. The table has an `id` and a column `embedding` of type vector(D): the
teacher's vectors alone, in the dimensions that the run keeps (`python -m kdistill.space project`). An index on it for
vector_cosine_ops is used where there is one.
"""

import sys

import psycopg
from psycopg import sql
from search import opened, pixels_of  # the file beside this one

NEAREST = sql.SQL(
    "SELECT id, 1 - (embedding <=> %(query)s::vector) FROM {} ORDER BY embedding <=> %(query)s::vector LIMIT 5"
)

if __name__ == "__main__":
    embed, size = opened(sys.argv[1], None)
    query = embed(pixels_of(sys.argv[4], size))["embedding"][0]
    with psycopg.connect(sys.argv[2]) as connection:
        found = connection.execute(NEAREST.format(sql.Identifier(sys.argv[3])), {"query": str(query.tolist())})
        for name, score in found:
            print(f"{score:.4f}  {name}")
