"""Tests of the parts of `cnet.inference`, without a process or socket."""
