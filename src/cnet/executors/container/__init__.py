"""`container`: an image run by a container engine through the Docker Engine API."""
