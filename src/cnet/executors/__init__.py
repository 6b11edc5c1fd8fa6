"""How to run each kind of workload. `base` is the contract, `catalog` finds the executors."""
