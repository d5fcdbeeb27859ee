"""What a stack runs on, as commands take it with ``--on``."""

from enum import StrEnum
from typing import Annotated

from typer import Option


class Engine(StrEnum):
    COMPOSE = "compose"
    KUBERNETES = "kubernetes"


On = Annotated[Engine, Option("--on", help="Where the stack runs; in Kubernetes on kubectl's current context.")]
