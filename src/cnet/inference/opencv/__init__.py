"""Face, eye and smile detection with OpenCV's Haar cascades: the built-in runtime `opencv`."""
