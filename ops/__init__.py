"""What operators do from the host: deployments, status, backups, and locations that come and go."""

import sys
from pathlib import Path

# The webserver's package has the module that reads access.yaml.
sys.path.append(str(Path(__file__).resolve().parents[1] / "services/dagster"))
