"""A cluster of agents on this machine, one per configuration file: start, look, end.

`members` reads the files, `processes` keeps the agents' processes, `scaled` the numbers of replicas
from `down` to `up`, `cluster` puts them together. It knows agents by their process and their API
only; what a person types is `cnet.cli.cluster`.
"""

from cnet._support.ports import free_ports
from cnet.cli.local.cluster import LocalCluster, Standing, default_folder
from cnet.cli.local.members import Member, read_members

__all__ = ["LocalCluster", "Member", "Standing", "default_folder", "free_ports", "read_members"]
