"""What is shown and stored of a URL."""

from urllib.parse import urlsplit


def without_secrets(url: str) -> str:
    """The URL without user and password, query and fragment; a signed URL has its signature in the query."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()
