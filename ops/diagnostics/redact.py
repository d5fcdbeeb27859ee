"""Removes secrets from texts, in whatever form a program prints them."""

import json
import re
from base64 import b64encode
from collections.abc import Iterable
from urllib.parse import unquote

REMOVED = "(removed)"
# A shorter one would be found in words that are none.
SHORTEST = 6
# What every encoder leaves as it is.
_PLAIN = re.compile(r"[A-Za-z0-9_-]")
_NAME = r"(?:password|passwd|pwd|secret|token|api[_-]?key|private[_-]?key|authorization|cookie)(?:\\?[\"'])?\s*[=:]\s*"
# Any secret, known or not: in a URL before the host, after its name, after the scheme of a login, and private keys.
_ANY = (
    (r"([A-Za-z][A-Za-z0-9+.-]{0,30}://)[^\s/?#@:\"'<>]*(?::[^\s\"'<>]*)?@", rf"\1{REMOVED}@"),
    (rf"(?i)({_NAME}\\?([\"']))(?:(?!\2)[^\\\n])+", rf"\1{REMOVED}"),
    (rf"(?i)({_NAME}(?:(?:bearer|basic|digest)\s+)?)[^\s\"',;&\\(]+", rf"\1{REMOVED}"),
    (r"(?i)(\b(?:bearer|basic)\s+)[A-Za-z0-9+/=._~-]{8,}", rf"\1{REMOVED}"),
    (r"(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", REMOVED),
)


class Redactor:
    """Removes known secrets, and what looks like one.

    A known secret is found as it is, percent-encoded, escaped for JSON, and in base64 of any alignment.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        known = {secret for secret in secrets if len(secret) >= SHORTEST}
        # A secret goes before those that are a part of it.
        in_order = sorted(known, key=lambda secret: (-len(secret), secret))
        forms = [form for secret in in_order for form in (_escaped(secret), *map(re.escape, _base64(secret)))]
        self._patterns = [re.compile(form) for form in forms]

    def clean(self, text: str) -> str:
        for pattern in self._patterns:
            text = pattern.sub(REMOVED, text)
        for form, instead in _ANY:
            text = re.sub(form, instead, text)
        return text


def parts(text: str) -> set[str]:
    """The secrets in a file of secrets: its lines, and the passwords and tokens in them.

    A line may be a secret, `user:password`, a line of a password file of Postgres, a setting, or a receiver's URL.
    """
    found: set[str] = set()
    for line in filter(None, map(str.strip, text.splitlines())):
        found |= {line, line.partition(":")[2].strip(), line.rpartition(":")[2].strip(), line.partition("=")[2].strip()}
        found.update(re.findall(r"[:=]\s*[\"']([^\"']+)", line))
        for url in re.findall(r"[A-Za-z][\w+.-]*://\S+", line):
            found |= _in_url(url)
    return {part for part in found if len(part) >= SHORTEST}


def _in_url(url: str) -> set[str]:
    """What may be secret in a URL: user, password, and what in its path and query, or instead of a host, is no word."""
    user, _, rest = url.partition("://")[2].rpartition("@")
    pieces = [piece for piece in re.split(r"[/?&=#]", rest) if re.search(r"[A-Z0-9]", piece) and "." not in piece]
    found = {user, *user.partition(":")[::2], *pieces}
    return found | {unquote(piece) for piece in found}


def _escaped(secret: str) -> str:
    """A pattern of a secret in which each character may be escaped for a URL or for JSON."""
    return "".join(c if _PLAIN.match(c) else f"(?:{'|'.join(_forms(c))})" for c in secret)


def _forms(character: str) -> list[str]:
    # Longest first: the first character of an escape may be the character itself.
    escapes = ["".join(f"%{byte:02x}" for byte in character.encode()), json.dumps(character)[1:-1]]
    escapes += ["+"] if character == " " else []
    return [*(f"(?i:{re.escape(each)})" for each in escapes), re.escape(character)]


def _base64(secret: str) -> set[str]:
    """What the base64 of any text with this secret contains, for each of the three places where it may begin."""
    found = set()
    for before in range(3):
        whole = b"\0" * before + secret.encode()
        # The characters that the bytes around the secret have no part in.
        first, last = (before * 8 + 5) // 6, len(whole) * 8 // 6
        for alphabet in (b"+/", b"-_"):
            found.add(b64encode(whole, alphabet).decode()[first:last])
    return found
