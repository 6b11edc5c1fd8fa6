"""Lets `python -m cnet.inference` be the same program as `cnet-inference`."""

from __future__ import annotations

from cnet.inference.main import main

if __name__ == "__main__":
    main()
