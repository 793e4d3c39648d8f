"""What dials have learned, for those that follow."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from . import _native
from ._plan import LONGEST, Config, Service, settings_of
from ._report import Answer

if TYPE_CHECKING:
    from typing_extensions import Self


class Cache:
    """What dials have learned: a later one does not wait again for what an earlier found silent.

    It shortens waiting and never decides; what is found out counts for this network and host
    alone, for 10 minutes and more. Pass one cache to every dial; any number of threads may.

    Without *path* it ends with the process. With one it is kept in that file, which the processes
    of a user share; a file that cannot be read is an empty cache. It is saved by a thread that
    lives while there is something to save.

    >>> cache = Cache()
    >>> mailport.connect("127.0.0.1", plan=f"{server.port}:starttls", cache=cache).close()
    >>> cache.forget("127.0.0.1")
    1
    """

    __slots__ = ("_native", "_path")

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self._path = None if path is None else Path(path)
        self._native = _native.Cache(self._path)

    @classmethod
    def default(cls) -> Self:
        """Gives the cache of the user, which the command ``mailport`` uses, too.

        It is ``mailport/cache.json`` in ``$XDG_CACHE_HOME`` or else in ``~/.cache``; one that ends
        with the process where neither is known.
        """
        return cls(_native.Cache.default_path())

    @property
    def path(self) -> Path | None:
        """The file; ``None`` where it ends with the process."""
        return self._path

    def forget(self, host: str) -> int:
        """Forgets a host in every network, and gives how many things that were."""
        return self._native.forget(host)

    def clear(self) -> int:
        """Forgets everything, and gives how many things that were."""
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
        """Remembers what the user answered for good when *service* would come next.

        Later dials to *host* in this network, with the same *config* and *via*, then do not ask.
        ``False``, with nothing remembered, where this network cannot be told from another one.
        """
        settings = settings_of(config or Config(), LONGEST, ask=True)
        return self._native.remember_answer(host, str(service), Answer(answer), settings, via)

    def flush(self, timeout: float = 5.0) -> bool:
        """Waits at most *timeout* seconds until everything is saved, and says whether it is."""
        return self._native.flush(timeout)

    def __repr__(self) -> str:
        path = "" if self._path is None else repr(str(self._path))
        return f"{type(self).__name__}({path})"
