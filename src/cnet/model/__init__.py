"""Values: resources, workloads, their lifecycle and events. No I/O, no clock, no event loop."""
