"""Sends what waits, through Apprise, to the receivers that a file names: docs/alerts.md.

Each receiver has its own place in the queue, so none waits for another. What it did not accept is sent again after
the next evaluation, in order, as one message with what came since. Errors name a receiver by its number in the file;
they contain neither its URL nor its answer, which may have a secret.
"""

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import apprise
import requests
from apprise.plugins.base import NotifyBase

from ops.alerts.store import BEGINS, ENDED, FAILED, GIVE_UP_SECONDS, Entry, Store
from ops.command import OpsError, first_line, printable

# Between two messages to a receiver. What comes meanwhile is in the next one.
GAP_SECONDS = 300
# The lines of a message of each kind, and the characters of one; the others are counted.
MOST_LINES, MOST_CHARACTERS = 10, 1_000
HEADS = {BEGINS: "Needs a person", FAILED: "Failed", ENDED: "Over"}
DEFAULT = "default"
ALWAYS = "always"
_ASSET = apprise.AppriseAsset(http_redirects=False, async_mode=False, storage_mode="memory")


class ReceiverError(OpsError):
    """The file of the receivers cannot be used; the message names the line."""


@dataclass(frozen=True)
class Receiver:
    """``label`` is for people; ``id`` is that of its URL, so that a change of the file's order loses nothing."""

    id: str
    label: str
    tags: frozenset[str]
    service: NotifyBase


def read_receivers(path: Path) -> list[Receiver]:
    """The receivers of a file in one of Apprise's two formats; without the file there is none."""
    try:
        text = path.read_text()
    except FileNotFoundError:
        return []
    logging.getLogger("apprise").disabled = True  # it cites URLs
    if _format(text) == "text":
        _check_lines(path.name, text)
    config = apprise.AppriseConfig(asset=_ASSET)
    services = config.services() if config.add_config(text, format=_format(text)) else []
    if not services:
        raise ReceiverError(f"{path.name}: there is no receiver in it. docs/alerts.md shows what a file has.")
    found = []
    for number, service in enumerate(services, 1):
        id = str(service.url_id())  # type: ignore[no-untyped-call]
        found.append(Receiver(id, _label(number, service), frozenset(map(str, service.tags)), service))
    return found


def chosen(receivers: Sequence[Receiver], tags: Sequence[str]) -> list[Receiver]:
    """The receivers for these owners: those with one of their tags, else those with ``default`` or no tag, else all.

    Those with ``always`` are in addition: they take no alert from the others.
    """
    of_owner = [one for one in receivers if one.tags & {*tags}]
    routed = of_owner or [one for one in receivers if not one.tags or DEFAULT in one.tags] or list(receivers)
    return [one for one in receivers if one in routed or ALWAYS in one.tags]


def send(store: Store, receivers: Sequence[Receiver], project: str, now: float, gap: float = GAP_SECONDS) -> None:
    """Sends each receiver what it has not accepted, in at most one message, and deletes what all have accepted."""
    for receiver in receivers:
        waiting = [entry for entry in store.waiting(receiver.id) if receiver in chosen(receivers, entry.tags)]
        last, given_up = _state(store, receiver)
        if not waiting or now - last < gap:
            continue
        trouble = deliver(
            receiver, *message(project, waiting, given_up), ends=all(one.mark == ENDED for one in waiting)
        )
        with store.transaction():
            if trouble:
                _trouble(store, receiver, trouble, now)
                continue
            store.ask("insert or replace into receivers values (?, ?, null, null, 0)", receiver.id, now)
            for entry in waiting:
                store.ask("insert or ignore into sent values (?, ?)", entry.id, receiver.id)
    _forget(store, receivers, now)


def deliver(receiver: Receiver, title: str, body: str, ends: bool = False) -> str:
    """Sends one message now, and returns why that failed, or nothing."""
    kind = apprise.NotifyType.SUCCESS if ends else apprise.NotifyType.FAILURE
    reasons = _Reasons()
    logger = logging.getLogger("apprise")
    logger.disabled, logger.propagate = False, False
    logger.addHandler(reasons)
    try:
        if receiver.service.notify(body=body, title=title, notify_type=kind):
            return ""
    except Exception as error:  # a plugin's own
        reasons.found = type(error).__name__
    finally:
        logger.removeHandler(reasons)
        logger.disabled = True
    return reasons.found or "it does not answer, or refuses"


def ping(url: str) -> str:
    """Calls the URL of a dead man's switch; returns why that failed, or nothing."""
    try:
        answer = requests.get(url, timeout=5, allow_redirects=False)
        return "" if answer.status_code < 300 else f"it answers HTTP {answer.status_code}"
    except (requests.RequestException, ValueError) as error:
        return f"it does not answer ({type(error).__name__})"


def message(project: str, entries: Sequence[Entry], given_up: int = 0) -> tuple[str, str]:
    """Title and text of what waits for a receiver."""
    counts = {mark: [one for one in entries if one.mark == mark] for mark in HEADS}
    title = ", ".join(f"{HEADS[mark].lower()}: {len(found)}" for mark, found in counts.items() if found)
    if len(entries) == 1:
        title = f"{HEADS[entries[0].mark].lower()}: {first_line(entries[0].line)}"
    parts = []
    for mark, found in counts.items():
        lines = [f"- {_short(one.line)}" for one in found[:MOST_LINES]]
        lines += [f"and {len(found) - MOST_LINES} more"] if len(found) > MOST_LINES else []
        parts += ["\n".join([f"{HEADS[mark]}:", *lines])] if found else []
    if given_up:
        parts.append(f"{given_up} older lines were dropped, because this receiver accepted none for a week.")
    return f"{project}: {title}", "\n\n".join(parts)


class _Reasons(logging.Handler):
    """Keeps the HTTP status of a failure; the rest of what Apprise says may repeat a secret."""

    found = ""

    def emit(self, record: logging.LogRecord) -> None:
        if status := re.search(r"error=(\d{3})\b", record.getMessage()):
            self.found = f"it answers HTTP {status[1]}"


def _format(text: str) -> str:
    first = next((line for line in map(str.strip, text.splitlines()) if line and not line.startswith("#")), "")
    return "yaml" if re.match(r"(version|urls|asset|tag|include|groups)\s*:\s*($|[^/\s])", first) else "text"


def _check_lines(name: str, text: str) -> None:
    for number, line in enumerate(text.splitlines(), 1):
        url = line.strip()
        if not url or url[0] in "#;":
            continue
        config = apprise.AppriseConfig(asset=_ASSET)
        if not (config.add_config(url, format="text") and config.services()):
            raise ReceiverError(
                f"{name}, line {number}: Apprise knows no such receiver. Write a URL, or tag=URL: docs/alerts.md."
            )


def _label(number: int, service: NotifyBase) -> str:
    tags = f", {' '.join(sorted(map(str, service.tags)))}" if service.tags else ""
    return f"receiver {number} ({service.service_name}{tags})"


def _state(store: Store, receiver: Receiver) -> tuple[float, int]:
    rows = store.ask("select last, given_up from receivers where id = ?", receiver.id)
    return (rows[0]["last"] or 0.0, rows[0]["given_up"]) if rows else (0.0, 0)


def _trouble(store: Store, receiver: Receiver, trouble: str, now: float) -> None:
    store.ask("insert or ignore into receivers values (?, 0, null, null, 0)", receiver.id)
    change = "update receivers set since = coalesce(since, ?), trouble = ? where id = ?"
    store.ask(change, now, f"{receiver.label}: {trouble}", receiver.id)


def _forget(store: Store, receivers: Sequence[Receiver], now: float) -> None:
    with store.transaction():
        for entry in store.waiting():
            left = [one for one in chosen(receivers, entry.tags) if not _has(store, entry, one)]
            if left and now - entry.time > GIVE_UP_SECONDS:
                for one in left:
                    _trouble(store, one, "it took nothing for a week", now)
                    store.ask("update receivers set given_up = given_up + 1 where id = ?", one.id)
                left = []
            if not left:
                store.ask("delete from entries where id = ?", entry.id)
                store.ask("delete from sent where entry = ?", entry.id)
        known = [one.id for one in receivers]
        marks = ", ".join("?" * len(known))
        store.ask(f"delete from receivers where id not in ({marks})", *known)


def _has(store: Store, entry: Entry, receiver: Receiver) -> bool:
    return bool(store.ask("select 1 from sent where entry = ? and receiver = ?", entry.id, receiver.id))


def _short(line: str) -> str:
    safe = printable(line)
    return safe if len(safe) <= MOST_CHARACTERS else f"{safe[: MOST_CHARACTERS - 1]}…"
