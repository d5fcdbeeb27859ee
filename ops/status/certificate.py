"""When the certificate that the door serves ends.

As a command, in a container of the door's network, it prints that time as JSON: python -m ops.status.certificate
"""

import json
import socket
import ssl
import sys

from ops.command import OpsError

DOOR = ("door", 8443)
_SECONDS = 5
# X509_V_FLAG_NO_CHECK_TIME of OpenSSL, which Python has no name for: a certificate that has ended is read, too.
_AT_ANY_TIME = 0x200000


def certificate_end(address: tuple[str, int] = DOOR) -> float | None:
    """Seconds since 1970; None where nothing listens, as without a certificate. Raises OpsError."""
    try:
        certificate = ssl.get_server_certificate(address, timeout=_SECONDS)
        # Python shows the fields of a certificate only if it trusts it. So it is told to trust exactly this one.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.load_verify_locations(cadata=certificate)
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | _AT_ANY_TIME
        with (
            socket.create_connection(address, timeout=_SECONDS) as connection,
            context.wrap_socket(connection) as served,
        ):
            fields = served.getpeercert() or {}
    except ConnectionRefusedError:
        return None
    except OSError as error:
        raise OpsError(f"the door's certificate cannot be read: {error}") from None
    return float(ssl.cert_time_to_seconds(str(fields["notAfter"])))


if __name__ == "__main__":
    try:
        print(json.dumps(certificate_end()))
    except OpsError as error:
        sys.exit(str(error))
