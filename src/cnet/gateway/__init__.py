"""The program `cnet-gateway`: the files of a node's store over the S3 protocol.

It is started as a workload and knows nothing of the agent; both use the same store, the gateway
through `cnet.storage` only. What it takes and answers is written down in docs/s3.md.
"""
