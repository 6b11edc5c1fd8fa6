"""YOLO detectors in ONNX files: the built-in runtime `yolo`."""
