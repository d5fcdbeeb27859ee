"""Runs a command and prints the peak memory of its process in MB (10^6 bytes).

A process of its own, because Linux counts for a new process what the one that started it had in memory.

usage: python -m benchmarks.peak COMMAND…
"""

import resource
import subprocess
import sys

if __name__ == "__main__":
    ended = subprocess.run(sys.argv[1:], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if ended.returncode:
        sys.exit(f"{ended.stdout}\n{' '.join(sys.argv[1:])} failed")
    print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e6)
