"""Several real agents in a network of their own that is broken at random, and a witness outside.

    python -m tools.partitions --seed 1 --faults 40

Root on Linux is needed, with ip, nsenter and iptables. Each agent is in a network namespace; all
are joined by a bridge in one more. Nothing of the machine's own network is touched.
"""
