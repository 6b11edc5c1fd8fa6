"""How many runs a second, beside the bare `posix_spawn` of the same minute, and memory per run.

    python -m benchmarks.spawn [--rounds 3] [--runs 600] [--in-flight 32] [--sleeps 200]

Every round measures both, so that a busy machine slows both. A run counts when its exit record has
been read back by the agent's side.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

import anyio

from cnet.supervision import Run, RunSpec, Supervisor

ENVIRONMENT = {"PATH": "/usr/bin:/bin"}


def bare_per_second(runs: int) -> float:
    """The ceiling: `posix_spawn` and `waitpid` of /bin/true, one after the other."""
    begun = time.perf_counter()
    for _ in range(runs):
        pid = os.posix_spawn("/bin/true", ["/bin/true"], ENVIRONMENT)
        os.waitpid(pid, 0)
    return runs / (time.perf_counter() - begun)


class Bench:
    """Launches through one Supervisor; every launch is a new workload."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._count = 0

    async def launch(self, *argv: str) -> Run:
        self._count += 1
        name = f"bench-{self._count}"
        spec = RunSpec(
            run_id=name, workload_id=name, attempt=1, argv=argv, env=ENVIRONMENT, cwd="/"
        )
        return await self._supervisor.launch(spec)

    async def per_second(self, runs: int, in_flight: int) -> tuple[float, list[float]]:
        """Runs of /bin/true per second, and the seconds each launch took to be running."""
        latencies: list[float] = []
        left = iter(range(runs))

        async def worker() -> None:
            for _ in left:
                begun = time.perf_counter()
                run = await self.launch("/bin/true")
                latencies.append(time.perf_counter() - begun)
                ended = await run.wait()
                if ended.exit_code != 0:
                    raise RuntimeError(f"/bin/true ended with {ended}")

        begun = time.perf_counter()
        async with anyio.create_task_group() as group:
            for _ in range(in_flight):
                group.start_soon(worker)
        return runs / (time.perf_counter() - begun), latencies


def private_bytes(pid: int) -> int:
    """Memory that would be freed if the process ended (USS)."""
    total = 0
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith(("Private_Clean:", "Private_Dirty:")):
            total += int(line.split()[1]) * 1024
    return total


def quantile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


async def measure_speed(bench: Bench, *, rounds: int, runs: int, in_flight: int) -> None:
    ratios = []
    await bench.per_second(in_flight, in_flight)
    for number in range(rounds):
        bare = bare_per_second(runs)
        cpu = time.process_time()
        ours, latencies = await bench.per_second(runs, in_flight)
        agent_cpu_ms = (time.process_time() - cpu) / runs * 1000
        ratios.append(ours / bare)
        print(
            f"round {number + 1}: bare posix_spawn {bare:.0f}/s, supervised {ours:.0f}/s "
            f"({ours / bare:.0%}), launch p50 {statistics.median(latencies) * 1000:.1f} ms "
            f"p99 {quantile(latencies, 0.99) * 1000:.1f} ms at {in_flight} in flight, "
            f"agent {agent_cpu_ms:.2f} ms CPU each, load {os.getloadavg()[0]:.1f}"
        )
    _, alone = await bench.per_second(min(runs, 200), 1)
    print(
        f"median of ratios {statistics.median(ratios):.0%}; one at a time: launch p50 "
        f"{statistics.median(alone) * 1000:.1f} ms p99 {quantile(alone, 0.99) * 1000:.1f} ms"
    )


async def measure_memory(bench: Bench, *, sleeps: int) -> None:
    runs = [await bench.launch("sleep", "600") for _ in range(sleeps)]
    shims = [private_bytes(run.shim_pid) for run in runs]
    commands = [private_bytes(run.pid) for run in runs]
    print(
        f"{sleeps} x sleep: private memory of a shim {statistics.median(shims) / 1e6:.2f} MB "
        f"(max {max(shims) / 1e6:.2f}), of the command {statistics.median(commands) / 1e6:.2f} MB, "
        f"together {(statistics.median(shims) + statistics.median(commands)) / 1e6:.2f} MB"
    )
    begun = time.perf_counter()
    for run in runs:
        await run.stop(grace_s=1.0)
    for run in runs:
        await run.wait()
    print(f"stopped {sleeps} in {time.perf_counter() - begun:.2f} s")


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--runs", type=int, default=600)
    parser.add_argument("--in-flight", type=int, default=32)
    parser.add_argument("--sleeps", type=int, default=200)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cnet-bench-") as root:
        supervisor = Supervisor(Path(root))
        async with anyio.create_task_group() as group:
            await group.start(supervisor.run)
            bench = Bench(supervisor)
            await measure_speed(
                bench,
                rounds=arguments.rounds,
                runs=arguments.runs,
                in_flight=arguments.in_flight,
            )
            await measure_memory(bench, sleeps=arguments.sleeps)
            supervisor.sweep([])
            group.cancel_scope.cancel()


if __name__ == "__main__":
    anyio.run(main, backend_options={"use_uvloop": True})
