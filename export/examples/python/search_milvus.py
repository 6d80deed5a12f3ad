"""A photo against a Milvus collection of the teacher's vectors: `python search_milvus.py STUDENT URI NAME PHOTO`.

URI is http://HOST:PORT, or the file of Milvus Lite. The collection has the metric COSINE and a field `embedding` of the
teacher's vectors alone, in the dimensions that the run keeps (`python -m kdistill.space project`).
"""

import sys

from pymilvus import MilvusClient
from search import opened, pixels_of  # the file beside this one

if __name__ == "__main__":
    embed, size = opened(sys.argv[1], None)
    query = embed(pixels_of(sys.argv[4], size))["embedding"][0]
    client = MilvusClient(sys.argv[2])
    client.load_collection(sys.argv[3])
    found = client.search(sys.argv[3], data=[query.tolist()], anns_field="embedding", limit=5)
    for hit in found[0]:
        print(f"{hit['distance']:.4f}  {hit['id']}")
