"""What the tests execute, as their sources say: every list of words that is a command, whoever runs it."""

import ast
import re
import shlex
from collections.abc import Iterator
from functools import cache
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple

from ops.command import ROOT

# Folders with tests, and those of the project's own commands, which run others: of docker, above all.
TESTS = ("tests/**/*.py", "*_location/tests/**/*.py")
OWN_COMMANDS = ("ops/**/*.py", "demo/**/*.py")
# Functions that are called as the program that they run.
_PROGRAMS = {"dbt", "make"}
_SHORT = {"-d": "--detach", "-a": "--all", "-T": "--no-TTY"}
# Options of `docker compose` itself that take a value.
_COMPOSE_OPTIONS = {"--profile", "--file", "--project-directory"}


class Execution(NamedTuple):
    """A command that is run somewhere; what is only known when it runs is `…`."""

    path: Path
    words: tuple[str, ...]


@cache
def executions(patterns: tuple[str, ...]) -> list[Execution]:
    """Every command in the sources that match."""
    found = []
    for path in sorted({path for pattern in patterns for path in ROOT.glob(pattern) if ".venv" not in path.parts}):
        for node in ast.walk(ast.parse(path.read_text())):
            found += [Execution(path, words) for words in _commands(node)]
    return found


def _commands(node: ast.AST) -> Iterator[tuple[str, ...]]:
    if isinstance(node, ast.List | ast.Tuple):
        yield _words(node.elts)
    elif isinstance(node, ast.Call):
        name = getattr(node.func, "id", getattr(node.func, "attr", ""))
        yield ((name,) if name in _PROGRAMS else ()) + _words(node.args)


def _words(nodes: list[ast.expr]) -> tuple[str, ...]:
    words: list[str] = []
    for node in nodes:
        if isinstance(node, ast.Starred) and isinstance(node.value, ast.List | ast.Tuple):
            words += _words(node.value.elts)
        else:
            words.append(_word(node))
    return tuple(words)


def _word(node: ast.expr) -> str:
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.Name(id=name):
            return name
        case ast.JoinedStr(values=[ast.Constant(value=str(text)), *_]):
            return f"{text}…"
        case ast.BinOp(op=ast.Div(), right=right):
            return _word(right).rpartition("/")[2]
        case ast.Call(func=ast.Name(id="str"), args=[one]):
            return _word(one)
    return "…"


@cache
def targets_by_test() -> dict[str, set[Path]]:
    """Per target of the Makefile, the tests that run it, or the module that it runs, and CI's script where that does.

    What an executed target needs, or makes itself, is executed, too.
    """
    run: dict[str, set[Path]] = {}
    for execution in executions(TESTS):
        if execution.words and execution.words[0] == "make" and "--dry-run" not in execution.words:
            named = [word for word in execution.words[1:] if re.fullmatch(r"[a-z-]+", word) and word[0] != "-"]
            for target in named[:1]:
                run.setdefault(target, set()).add(execution.path)
        if "-m" in execution.words[:-1]:
            module = execution.words[execution.words.index("-m") + 1]
            for target in targets_of_module(module):
                run.setdefault(target, set()).add(execution.path)
    for target in re.findall(r"^make ([a-z-]+)", (ROOT / ".ci/run").read_text(), re.MULTILINE):
        run.setdefault(target, set()).add(ROOT / ".ci/run")
    makes = what_targets_make()
    waiting = list(run)
    while waiting:
        target = waiting.pop()
        for other in makes.get(target, set()):
            if not run[target] <= run.get(other, set()):
                run.setdefault(other, set()).update(run[target])
                waiting.append(other)
    return run


def targets_of_module(module: str) -> list[str]:
    """The targets of the Makefile that are a call of this Python module."""
    called = re.compile(rf"python -m {re.escape(module)}(\s|$)")
    return [name for targets, _, recipe in _rules() if called.search(recipe) for name in targets.split()]


def _rules() -> list[tuple[str, ...]]:
    text = (ROOT / "Makefile").read_text().replace("\\\n", " ")
    return re.findall(r"^([a-z][a-z -]*):(?!=)([^\n]*)\n((?:\t[^\n]*\n?)*)", text, re.MULTILINE)


@cache
def what_targets_make() -> dict[str, set[str]]:
    """Per target of the Makefile, the targets that it needs or makes itself."""
    rules = _rules()
    names = {name for targets, _, _ in rules for name in targets.split()}
    made = {}
    for targets, needs, recipe in rules:
        submakes = " ".join(line.partition("$(MAKE)")[2] for line in recipe.splitlines() if "$(MAKE)" in line)
        words = set(f"{needs.partition('##')[0]} {submakes}".split())
        for target in targets.split():
            made[target] = (words & names) - {target}
    return made


def variables_of(paths: set[Path]) -> set[str]:
    """Names of the variables that these files give to a command, as `NAME=…`."""
    return {name for path in paths for name in re.findall(r"[\"'\s]([A-Z][A-Z0-9_]*)=", path.read_text())}


def is_run(words: tuple[str, ...]) -> bool:
    """Whether a test or one of the project's own commands runs this command: the same one, with all of its options."""
    wanted, options = _shape(words)
    shapes = [_shape(execution.words) for execution in executions(TESTS + OWN_COMMANDS) if execution.words]
    for line in (ROOT / "Makefile").read_text().replace("\\\n", " ").splitlines():
        if re.match(r"\t[@ ]*docker compose", line):
            shapes.append(_shape(tuple(shlex.split(line.strip("\t@ ")))))
    return any(has[: len(wanted)] == wanted and options <= having for has, having in shapes)


def _shape(words: tuple[str, ...]) -> tuple[tuple[str, ...], set[str]]:
    """A command as its program with subcommands, and its options; without names of services, values and arguments.

    Of `docker compose exec` and `run`, what is executed inside is no part of it.
    """
    rest = list(words)
    command: list[str] = []
    if words[:2] == ("docker", "compose"):
        rest = rest[2:]
        command = ["docker", "compose"]
        while rest and rest[0] in _COMPOSE_OPTIONS:
            rest = rest[2:]
        command += rest[:1]
        if rest[:1] in (["exec"], ["run"]):
            rest = list(takewhile(lambda word: word.startswith("-"), rest[1:]))
    else:
        for word in words:
            if word.startswith("-"):
                break
            command.append(word)
    return tuple(command), {_SHORT.get(word, word) for word in rest if word.startswith("-")}
