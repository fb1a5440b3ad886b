"""Units done by a dask cluster: the workers read the recordings, and send back what they found.

Only units travel to the workers, and results back: recordings and checkpoint must be readable there under the same
paths or addresses. The journal stays here. A worker that is killed costs nothing: dask gives its units to another one,
and a result counts once, when it arrives here.
"""

import threading
import uuid
from collections.abc import Callable

from .. import threads
from ..console.say import note
from ..errors import Error, reason
from ..text import visible
from .pools import Died
from .work import Common, Unit

AHEAD = 2  # units for each thread of the cluster: one that it does, one that waits
TIMEOUT = 30  # s, to reach the scheduler


class Cluster:
    """A pool (see `pools`) on a running cluster. address: tcp://host:8786, or the path of a scheduler file (.json)."""

    def __init__(self, settings: Common, report: Callable, address: str):
        try:
            from distributed import Client, KilledWorker, as_completed
        except ImportError:
            raise Error("--cluster needs dask.distributed: pip install '.[cluster]' in the checkout.") from None
        where = {"scheduler_file": address} if address.endswith(".json") else {"address": address}
        try:
            self.client = Client(**where, timeout=TIMEOUT, set_as_default=False)
        except Exception as error:  # of its network library: many kinds
            raise Error(f"--cluster {visible(address)}: no scheduler answers there: {reason(error)}.") from None
        if not self.client.nthreads():
            note(f"the cluster at {visible(address)} has no workers yet: the work waits for them.")
        self.address, self.settings, self.killed = address, settings, KilledWorker
        self.run, self.tries = uuid.uuid4().hex[:12], 0
        self.units, self.futures = {}, as_completed(loop=self.client.loop)

    @property
    def room(self) -> int:
        """Workers may come and go while the scan runs."""
        return max(AHEAD, AHEAD * sum(self.client.nthreads().values()))

    def submit(self, unit: Unit) -> None:
        """Give it to the scheduler."""
        self.tries += 1
        key = f"minast-{self.run}-{unit.first}-{self.tries}"
        self.units[key] = unit
        self.futures.add(self.client.submit(do_unit, self.settings, unit.files, key=key, pure=False))

    def finished(self) -> tuple[Unit, list[dict] | Died]:
        """Wait for any. Raises minast.Error if the workers cannot do it, or the cluster is gone."""
        future = next(self.futures)
        unit = self.units.pop(future.key)
        try:
            return unit, future.result()
        except self.killed as error:
            return unit, Died(getattr(error, "allowed_failures", 3) + 1)
        except Error:
            raise
        except Exception as error:
            why = f"{type(error).__name__}: {reason(error)}"
            raise Error(f"the cluster at {visible(self.address)} cannot go on: {why}. Go on with --resume.") from None

    def close(self) -> None:
        """Cancel what is still to be done, and leave; the cluster stays."""
        for future in list(self.futures.futures):
            future.cancel()
        self.client.close(timeout=5)


_lock, _worker = threading.Lock(), {}


def do_unit(settings: Common, files: tuple[str, ...]) -> list[dict]:
    """What a worker does: `Worker.do`, with a model that stays loaded. Units of several threads take turns."""
    from distributed import get_worker

    with _lock:
        threads.set_count(get_worker().state.nthreads)
        if settings not in _worker:
            _worker.clear()  # of another command
            _worker[settings] = settings.worker()
        return _worker[settings].do(files)
