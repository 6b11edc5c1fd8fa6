"""Models of TensorFlow, Keras and LiteRT: the built-in runtime `tensorflow`."""
