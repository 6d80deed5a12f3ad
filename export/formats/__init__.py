"""A student as a file: TFLite and ONNX, their precisions, and files as objects."""
