#!/usr/bin/env python3
"""Exit 0 when the process behind the URL lives, and 1 otherwise: curl for images without curl.

It lives when it answers 2xx within three seconds, or 401, or hangs up on https because it wants a client
certificate: its container has neither the password nor the certificate of a web configuration file. Where it
hangs up on http, it is asked by https.
"""

import http.client
import ssl
import sys
import urllib.error
import urllib.request


def main(url: str) -> int:
    """A proxy from the environment is not meant for the container's own port."""
    # Nothing is sent that the certificate would have to protect.
    unverified = ssl._create_unverified_context()  # noqa: S323
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=unverified)
    )
    try:
        with opener.open(url, timeout=3) as answer:
            return 0 if 200 <= answer.status < 300 else 1
    except urllib.error.HTTPError as error:
        if error.code == 401:
            return 0
        problem = str(error)
    except (OSError, ValueError, http.client.HTTPException) as error:
        problem = str(error)
        reason = getattr(error, "reason", error)
        hung_up = isinstance(reason, http.client.RemoteDisconnected | ConnectionResetError)
        if hung_up and url.startswith("http:"):
            return main(url.replace("http:", "https:", 1))
        # A server of TLS says no by an alert; what answers otherwise speaks no TLS.
        refused = isinstance(reason, ssl.SSLError) and "ALERT" in (reason.reason or "")
        if url.startswith("https:") and (hung_up or refused):
            return 0
    sys.stderr.write(f"{url}: {problem}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
