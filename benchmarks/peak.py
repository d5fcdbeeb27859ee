"""Runs a command and prints the peak memory of its process in MB (10^6 bytes).

A process of its own, because Linux counts for a new process what the one that started it had in memory.

usage: python -m benchmarks.peak COMMAND…
"""

import os
import subprocess
import sys
import tempfile

if __name__ == "__main__":
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(sys.argv[1:], stdout=output, stderr=output)
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            output.seek(0)
            sys.exit(f"{output.read()}\n{' '.join(sys.argv[1:])} failed")
    print(usage.ru_maxrss * 1024 / 1e6)
