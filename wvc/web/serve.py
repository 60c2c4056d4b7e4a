"""Run the server until it is told to stop."""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import resource
import signal
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import uvicorn

from wvc.errors import UsageError, WvcError
from wvc.repo.repository import Repository
from wvc.web.app import build
from wvc.web.connection import Connection
from wvc.web.guard import Line, Patience
from wvc.web.quarantine import sweep
from wvc.web.receive import Receiver
from wvc.web.tokens import Door, full

MB = 1_000_000
SWEEP_SECONDS = 3600.0
SWITCH = 0.001  # seconds for which one thread may keep the others waiting: short requests come between long looks
GRACE = 30  # seconds that requests have to end when the server is told to stop


@dataclass(frozen=True)
class Options:
    """Where to listen and what to allow.

    protect: globs of branches, or of full names of refs. max_pack_mb: megabytes (10^6 bytes) of one pack.
    tls_cert, tls_key: PEM files, both or none.
    """

    host: str = "127.0.0.1"
    port: int = 8420
    tls_cert: Path | None = None
    tls_key: Path | None = None
    protect: Sequence[str] = ()
    max_pack_mb: int = 16_000
    patience: Patience = field(default_factory=Patience)


@dataclass(frozen=True)
class Started:
    """What is said when the server listens. open: nobody needs a token."""

    url: str
    repository: str
    open: bool
    protected: tuple[str, ...]


class Server(uvicorn.Server):
    """uvicorn's, which ends in peace when it is told to stop, and tells when it has begun."""

    def __init__(self, config: uvicorn.Config, listener: socket.socket, began: Callable[[], None]) -> None:
        super().__init__(config)
        self._listener, self._began = listener, began

    def go(self) -> None:
        """Serve until told to stop."""
        self.run([self._listener])

    def stop(self) -> None:
        """Tell it to stop, from another thread."""
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._began()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """A signal to stop is no error: uvicorn would send it again to the process afterwards."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        signals = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, self.handle_exit) for number in signals}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def server(
    repository: Repository, options: Options, say: Callable[[Line], None], began: Callable[[Started], None]
) -> Server:
    """A server that listens already. Raises UsageError for an address that strangers could reach without a token.

    say: takes the lines of the request log. began: is called when requests are answered.
    """
    door, loopback = Door(repository.folder), is_loopback(options.host)
    if door.is_open and not loopback:
        raise UsageError(
            f"without any token, everybody who reaches {options.host} could push",
            "make one: wvc token create NAME --scope push",
        )
    protected = tuple(full(glob) for glob in options.protect)
    receiver = Receiver(repository.folder, protected, options.max_pack_mb * MB)
    listener = _listen(options.host, options.port)
    try:
        config = _config(options, build(receiver, say, loopback=loopback, patience=options.patience))
    except BaseException:
        listener.close()
        raise
    started = Started(_url(options, listener), str(repository.path), door.is_open, protected)
    return Server(config, listener, lambda: began(started))


def serve(
    repository: Repository, options: Options, say: Callable[[Line], None], began: Callable[[Started], None]
) -> None:
    """Serve `repository` until a signal says stop; what was begun is brought to its end."""
    made, stop = server(repository, options, say, began), threading.Event()
    sys.setswitchinterval(SWITCH)
    _allow_files()
    sweeper = threading.Thread(target=_sweep, args=(repository, stop), name="wvc-sweep", daemon=True)
    sweeper.start()
    try:
        made.go()
    finally:
        stop.set()
        sweeper.join()


def is_loopback(host: str) -> bool:
    """True if `host` is this machine, seen from itself."""
    if host == "localhost":
        return True
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return False


def _config(options: Options, app: object) -> uvicorn.Config:
    if (options.tls_cert is None) != (options.tls_key is None):
        raise UsageError("--tls-cert and --tls-key go together", "name both files")
    for name in ("uvicorn.error", "uvicorn.access", "uvicorn.asgi"):  # every request has its line in our log
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [logging.NullHandler()], False
    try:
        config = uvicorn.Config(
            app,  # type: ignore[arg-type]
            http=Connection,
            ws="none",
            lifespan="off",
            loop="asyncio",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            backlog=1024,
            timeout_keep_alive=5,
            timeout_graceful_shutdown=GRACE,
            h11_max_incomplete_event_size=16 << 10,
            ssl_certfile=options.tls_cert,
            ssl_keyfile=options.tls_key,
        )
        config.load()
    except (ssl.SSLError, OSError) as error:
        raise WvcError(f"the certificate or its key cannot be used: {error}", "name two PEM files") from None
    if config.ssl is not None:
        config.ssl.minimum_version = ssl.TLSVersion.TLSv1_2
    return config


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, proto, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, proto)
    except (OSError, OverflowError) as error:
        raise UsageError(f"cannot listen on {host}: {error}") from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(1024)
    except (OSError, OverflowError) as error:
        listener.close()
        raise WvcError(f"cannot listen on {host}, port {port}: {error}", "choose another --port") from None
    return listener


def _url(options: Options, listener: socket.socket) -> str:
    scheme = "http" if options.tls_cert is None else "https"
    host = f"[{options.host}]" if ":" in options.host else options.host
    return f"{scheme}://{host}:{listener.getsockname()[1]}"


def _allow_files() -> None:
    """As many open files as the system allows: each connection is one."""
    with contextlib.suppress(ValueError, OSError):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if hard == resource.RLIM_INFINITY or soft < hard:
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65_536) if hard > 0 else 65_536, hard))


def _sweep(repository: Repository, stop: threading.Event) -> None:
    """Now and every hour, remove what senders gave up."""
    while True:
        with contextlib.suppress(WvcError, OSError):
            known = Repository(repository.path).log.head().packs
            sweep(repository.folder, known)
        if stop.wait(SWEEP_SECONDS):
            return
