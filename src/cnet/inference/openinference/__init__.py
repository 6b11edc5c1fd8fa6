"""The Open Inference Protocol, version 2, over HTTP (that of KServe, Triton and MLServer)."""
