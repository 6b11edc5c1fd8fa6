"""A workload that leaves evidence: when it began, when it was last alive, whom it met.

    python -I -S witness.py FOLDER [SECONDS [EXIT-CODE]]

Its file `FOLDER/<workload>/<run>@<network namespace>.<pid>.<start time>` holds three numbers of 20
digits: nanoseconds of CLOCK_BOOTTIME at its start and at its last sign of life, and 1 if another
run of the workload was alive at its start. The lock that shows that is the kernel's, so two runs
that overlap by however little are found. Without SECONDS it runs until it is ended.
"""

from __future__ import annotations

import fcntl
import os
import sys
import time

PERIOD_S = 0.02
LINE = "{:020d} {:020d} {:020d}\n"


def main() -> None:
    """Begin, tell, go on."""
    began = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    folder = os.path.join(sys.argv[1], os.environ["CNET_WORKLOAD_ID"])  # noqa: PTH118
    lasts = float(sys.argv[2]) if len(sys.argv) > 2 else None
    os.makedirs(folder, exist_ok=True)  # noqa: PTH103  pathlib takes twice the memory
    lock = os.open(os.path.join(folder, "lock"), os.O_CREAT | os.O_RDWR, 0o600)  # noqa: PTH118
    met = False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        met = True
    place = os.stat("/proc/self/ns/net").st_ino  # noqa: PTH116
    with open("/proc/self/stat") as stat:  # noqa: PTH123
        text = stat.read()
    start = text[text.rindex(")") + 2 :].split()[19]
    name = f"{os.environ['CNET_RUN_ID']}@{place}.{os.getpid()}.{start}"
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY
    evidence = os.open(os.path.join(folder, name), flags, 0o600)  # noqa: PTH118
    while True:
        now = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        os.pwrite(evidence, LINE.format(began, now, met).encode(), 0)
        if lasts is not None and now - began > lasts * 1e9:
            sys.exit(int(sys.argv[3]) if len(sys.argv) > 3 else 0)
        time.sleep(PERIOD_S)


if __name__ == "__main__":
    main()
