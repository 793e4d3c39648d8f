"""The cache of earlier dials."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from . import _native
from ._config import DEFAULT_CONFIG, Config, native_of
from ._enums import Answer
from ._plan import Service

if TYPE_CHECKING:
    from pathlib import Path

    from typing_extensions import Self


class Cache:
    """What dials have found out, so that a later one does not wait for a silent service again.

    A cache shortens waiting; it never decides which service is used. Its entries count for one
    network and host, for 10 minutes and more. Dials without a cache use the shared cache of the
    process (:meth:`shared`). A cache is thread-safe.

    path
        The file in which the cache is kept, which the processes of a user share. A thread saves
        it, once a second at most, and the end of the process waits for it for a moment. Default
        ``None``: the cache ends with the process.

    >>> cache = Cache()
    >>> mailport.connect("127.0.0.1", plan=f"{server.port}:starttls", cache=cache).close()
    >>> cache.forget("127.0.0.1")
    1
    """

    __slots__ = ("__weakref__", "_native", "_path")

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self._path = None if path is None else os.fspath(path)
        self._native = _native.Cache(self._path)

    @staticmethod
    def shared() -> Cache:
        """Returns the cache in memory that every dial of this process uses by default.

        It keeps outcomes only: no answers, and nothing of loopback addresses, whose ports are used
        again by other servers. A call with ``cache=False`` does without it, for a process that
        dials for several users.

        >>> mailport.Cache.shared().clear()
        0
        """
        return SHARED

    @classmethod
    def default(cls) -> Self:
        """Returns the user's cache, which the command ``mailport`` uses too.

        Its file is ``mailport/cache.json`` in ``$XDG_CACHE_HOME`` or else in ``~/.cache``. It ends
        with the process if neither directory is known.
        """
        return cls(_native.Cache.default_path())

    @property
    def path(self) -> Path | None:
        """The file of the cache. ``None`` if it ends with the process."""
        # At the first use, for its import takes long.
        from pathlib import Path

        return None if self._path is None else Path(self._path)

    def forget(self, host: str) -> int:
        """Removes the entries of *host* in every network, and returns their number."""
        return self._native.forget(host)

    def clear(self) -> int:
        """Removes every entry, and returns their number."""
        return self._native.clear()

    def remember_answer(
        self,
        host: str,
        service: Service,
        answer: Answer | str,
        *,
        config: Config | None = None,
        via: str | None = None,
    ) -> bool:
        """Stores the answer to the question whether *service* may be tried next, for 30 days.

        Later dials to *host* in this network, with the same *config* and *via*, then do not ask.
        Returns ``False`` and stores nothing if this network cannot be identified, and if this is
        the shared cache.
        """
        settings = native_of(config or DEFAULT_CONFIG)
        return self._native.remember_answer(host, str(service), Answer(answer), settings, via)

    def flush(self, timeout: float = 5.0) -> bool:
        """Waits at most *timeout* seconds until the file is saved, and returns whether it is."""
        return self._native.flush(timeout)

    def __repr__(self) -> str:
        if self is SHARED:
            return "Cache.shared()"
        path = "" if self._path is None else repr(self._path)
        return f"{type(self).__name__}({path})"


SHARED = Cache()
SHARED._native = _native.Cache.shared()
