"""The exact search as operators of TFLite and ONNX."""
