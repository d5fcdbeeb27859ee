"""What a stack runs on, as commands take it with ``--on``, and who uses them."""

import getpass
import os
import socket
from enum import StrEnum
from typing import Annotated

from typer import Option


class Engine(StrEnum):
    COMPOSE = "compose"
    KUBERNETES = "kubernetes"


On = Annotated[Engine, Option("--on", help="Where the stack runs; in Kubernetes on kubectl's current context.")]


def who() -> str:
    return os.environ.get("DEPLOYED_BY") or f"{getpass.getuser()}@{socket.gethostname()}"
