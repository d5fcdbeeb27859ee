"""Runs a command and prints the peak memory of its process in MB (10^6 bytes).

A process of its own, because Linux counts for a new process what the one that started it had in memory.

usage: python -m benchmarks.peak COMMAND…
"""

import os
import subprocess
import sys

if __name__ == "__main__":
    process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{' '.join(sys.argv[1:])} failed")
    print(usage.ru_maxrss * 1024 / 1e6)
