"""The runtime `onnx`, and all that CNET says to ONNX Runtime."""
