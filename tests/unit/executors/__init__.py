"""Tests of executors, without a process."""
