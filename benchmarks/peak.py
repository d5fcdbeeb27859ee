"""Runs a command and prints the peak memory of its process in MB (10^6 bytes).

This is a separate process, because Linux counts the memory of the parent process for a new process, too.

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
