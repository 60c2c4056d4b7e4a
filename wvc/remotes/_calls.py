"""HTTP as a remote needs it: one server, one token, no redirects, and answers that are not believed."""

from __future__ import annotations

import json
import random
import time
import urllib.request
from collections.abc import Callable, Mapping
from typing import NoReturn, TypeVar
from urllib.parse import urlsplit

import urllib3
from urllib3.exceptions import HTTPError, NewConnectionError, SSLError
from urllib3.exceptions import TimeoutError as Late

from wvc.errors import Refused, RemoteProblem, Unreachable

CONNECT, READ = 10.0, 60.0  # seconds for a connection, and for the next bytes of an answer
LOOKING = 900.0  # seconds that a server may take to look at what was pushed
ATTEMPTS = 6
BUSY = (423, 429, 503)  # try again in a moment
ERROR_BYTES = 1 << 16
POOL = 8

Response = urllib3.BaseHTTPResponse
T = TypeVar("T")


class Broken(Exception):
    """A connection that broke while something was going on; or a server that is too busy.

    sent: it may have got what was sent.
    """

    def __init__(self, why: str, *, sent: bool) -> None:
        super().__init__(why)
        self.sent = sent


class Calls:
    """Requests to the server at `url`. May be used by several threads."""

    def __init__(self, url: str, token: str | None) -> None:
        self.url = url.rstrip("/")
        self._headers = {"User-Agent": "wvc", "Accept-Encoding": "identity"}
        if token is not None:
            self._headers["Authorization"] = f"Bearer {token}"
        self._pool = _pool(self.url)

    def close(self) -> None:
        self._pool.clear()

    def once(
        self, method: str, path: str, headers: Mapping[str, str] = {}, body: bytes | None = None, wait: float = READ
    ) -> Response:
        """The answer, not yet read. Raises Broken; Refused for an answer that leads elsewhere."""
        timeout = urllib3.Timeout(connect=CONNECT, read=wait)
        try:
            answer = self._pool.request(
                method,
                self.url + path,
                headers={**self._headers, **headers},
                body=body,
                timeout=timeout,
                retries=False,
                redirect=False,
                preload_content=False,
                decode_content=False,
            )
        except SSLError as error:
            raise Unreachable(
                f"{self.url} cannot be trusted: {_why(error)}", "SSL_CERT_FILE names certificates"
            ) from None
        except NewConnectionError as error:
            raise Broken(_why(error), sent=False) from None
        except (HTTPError, OSError) as error:
            late = isinstance(error, Late) and "connect" in str(error).lower()
            raise Broken(_why(error), sent=not late) from None
        return self._looked_at(answer)

    def _looked_at(self, answer: Response) -> Response:
        if answer.status in BUSY:
            self.end(answer)
            raise Broken("the server is busy", sent=False)
        if 300 <= answer.status < 400:
            place = answer.headers.get("Location", "nowhere")[:200]
            self.end(answer)
            raise Refused(f"{self.url} sends us to {place}", "if that is right, let the remote have that address")
        return answer

    def again(self, work: Callable[[], T]) -> T:
        """What `work` gives, tried again where connections break. Raises Unreachable."""
        for attempt in range(ATTEMPTS):
            try:
                return work()
            except Broken as error:
                problem = error
            pause(attempt)
        raise self.unreachable(problem)

    def unreachable(self, problem: Broken) -> Unreachable:
        return Unreachable(f"cannot reach {self.url}: {problem}", "look at the address and the network, then try again")

    def refuse(self, answer: Response) -> NoReturn:
        """Raises Refused with what the server says, or Broken where it says that something went wrong in it."""
        message, hint = f"{self.url} answers with status {answer.status}", None
        try:
            said = json.loads(answer.read(ERROR_BYTES))
            message, hint = str(said["error"])[:500], said["hint"] and str(said["hint"])[:500]
        except (HTTPError, OSError, ValueError, TypeError, KeyError, RecursionError):
            pass
        finally:
            self.end(answer)
        if answer.status == 500 or answer.status in (502, 504):
            raise Broken(message, sent=True)
        raise Refused(message, hint)

    def nonsense(self, what: str) -> RemoteProblem:
        return RemoteProblem(f"{self.url} is no server of wvc's: {what}", "look at the address")

    @staticmethod
    def end(answer: Response) -> None:
        """Let go of an answer of which nothing more is wanted, and of its connection."""
        answer.close()
        answer.release_conn()


def pause(attempt: int) -> None:
    """Wait a little longer each time, and never as long as another client."""
    time.sleep(random.uniform(0.5, 1.0) * min(5.0, 0.1 * 2**attempt))


def _pool(url: str) -> urllib3.PoolManager:
    """Connections, through the proxy that the environment names for such addresses."""
    parts = urlsplit(url)
    proxy = urllib.request.getproxies().get(parts.scheme)
    host = parts.hostname or ""
    if proxy and not is_loopback(host) and not urllib.request.proxy_bypass(host):
        return urllib3.ProxyManager(proxy, maxsize=POOL)
    return urllib3.PoolManager(maxsize=POOL)


def is_loopback(host: str) -> bool:
    """True if what is sent to `host` does not leave this machine."""
    return host in ("localhost", "::1") or (host.startswith("127.") and host.replace(".", "").isdigit())


def _why(error: Exception) -> str:
    """The innermost reason, without addresses of objects."""
    inner = error
    while (reason := getattr(inner, "reason", None) or inner.__cause__) is not None and isinstance(reason, Exception):
        inner = reason
    text = str(inner)
    return (text.split(": ", 1)[-1] if "object at 0x" in text or "HTTP" in text[:6] else text)[:300] or type(
        inner
    ).__name__
