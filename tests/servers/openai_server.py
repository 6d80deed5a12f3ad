"""Runs in the servers' environment: LitServe, which speaks OpenAI's form of embeddings, with an `.onnx` file.

python openai_server.py FILE PORT
"""

import base64
import io
import sys

import litserve
import numpy as np
import onnxruntime
import PIL.Image


class Encoder(litserve.LitAPI):
    def __init__(self, file: str) -> None:
        super().__init__(spec=litserve.OpenAIEmbeddingSpec())
        self.file = file

    def setup(self, device: str) -> None:
        self.session = onnxruntime.InferenceSession(self.file, providers=["CPUExecutionProvider"])

    def predict(self, inputs: list) -> np.ndarray:
        side = self.session.get_inputs()[0].shape[-1]
        uris = inputs if isinstance(inputs, list) else [inputs]
        files = [io.BytesIO(base64.b64decode(uri.partition("base64,")[2])) for uri in uris]
        sized = [PIL.Image.open(file).convert("RGB").resize((side, side), PIL.Image.BILINEAR) for file in files]
        pixels = np.stack([np.asarray(image) for image in sized]).astype(np.float32) / np.float32(255)
        (vectors,) = self.session.run(["embedding"], {"pixel_values": pixels.transpose(0, 3, 1, 2)})
        return vectors

    def encode_response(self, output: np.ndarray) -> dict:
        return {"embeddings": output.tolist()}


if __name__ == "__main__":
    server = litserve.LitServer(Encoder(sys.argv[1]), accelerator="cpu")
    server.run(host="127.0.0.1", port=int(sys.argv[2]), generate_client_file=False, num_api_servers=1)
