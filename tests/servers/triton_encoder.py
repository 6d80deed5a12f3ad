"""Runs within Triton: a model of its Python backend that runs the `.onnx` file of the parameter `file`."""

import json

import onnxruntime
import triton_python_backend_utils as triton


class TritonPythonModel:
    def initialize(self, args: dict) -> None:
        file = json.loads(args["model_config"])["parameters"]["file"]["string_value"]
        self.session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])

    def execute(self, requests: list) -> list:
        answers = []
        for request in requests:
            pixels = triton.get_input_tensor_by_name(request, "pixel_values").as_numpy()
            (vectors,) = self.session.run(["embedding"], {"pixel_values": pixels})
            answers.append(triton.InferenceResponse([triton.Tensor("embedding", vectors)]))
        return answers
