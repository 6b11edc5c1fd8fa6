"""Lets `python -m cnet.gateway` be the same program as `cnet-gateway`."""

from __future__ import annotations

from cnet.gateway.main import main

if __name__ == "__main__":
    main()
