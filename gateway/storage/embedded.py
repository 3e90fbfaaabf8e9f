"""A Postgres of our own in a data folder: made, started, kept alive, stopped; reached through a Unix socket alone.

Owns the data folder (by ``flock``), the cluster in it, the server process and a short-named runtime folder for its socket.
Never opens a port, never changes a folder above the data folder, never runs the server as root, and leaves no server
behind: the kernel stops it when this process dies. Linux only, as the binaries are.

Layout of the data folder: ``lock`` (who keeps it), ``runtime`` (the name of the runtime folder, so that the next start can
sweep up after a killed one), ``cluster/`` (what Postgres calls the data directory).
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import pwd
import random
import shutil
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

from exchanges.backoff import Backoff
from gateway.storage import binaries
from gateway.storage.binaries import Binaries
from gateway.storage.child import Child, User
from gateway.storage.errors import DataFolderInUse, PostgresFailed, StorageError, UnusableFolder, WrongVersion

_log = logging.getLogger(__name__)

_ROLE = "perpwire"
_DATABASE = "postgres"  # the one that initdb makes
_RUNTIME_PREFIX = "perpwire-"
_INITDB_S = 120.0
_READY_S = 120.0  # after a crash the log is replayed first
_VACATED_S = 10.0
_SETTLED_S = 5.0
_LOOK_EVERY_S = 0.005  # Postgres tells its readiness by a line in a file, and the end of its children not at all
_REVIVE = Backoff(base_s=0.1, cap_s=5.0)

_INITDB_OPTIONS = (
    f"--username={_ROLE}",
    "--auth-local=trust",  # the socket's folder is closed to everybody but the server's user
    "--auth-host=reject",
    "--encoding=UTF8",
    "--locale=C",  # whatever the environment's locale is, and the binaries know no ICU
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
    "--no-instructions",
    "--sync-method=syncfs",  # one call where fsync makes a thousand: 1.5 s against 5 to 20 on a busy disk
)
# A few megabytes of rows, a handful of connections: small beside the gateway, and independent of any edited file.
_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "24",
    "shared_buffers": "32MB",
    "dynamic_shared_memory_type": "mmap",  # in the data folder: /dev/shm is small in containers, and kills leak there
    "maintenance_work_mem": "16MB",
    "max_wal_size": "256MB",
    "min_wal_size": "32MB",
    "max_wal_senders": "0",
    "wal_level": "minimal",
    "max_worker_processes": "2",
    "max_parallel_workers_per_gather": "0",
    "autovacuum_max_workers": "1",
    "io_method": "sync",
    "jit": "off",
    "recovery_init_sync_method": "syncfs",  # as above, before the log is replayed after a kill
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
}


def running_dsn(data_dir: Path | str) -> str | None:
    """Return the address of the server that runs in a data folder now, for a second reader; None: none does."""
    try:
        runtime = Path((Path(data_dir) / "runtime").read_text().strip())
    except OSError:
        return None
    sockets = runtime / "socket"
    return _address(sockets) if runtime.name.startswith(_RUNTIME_PREFIX) and any(sockets.glob(".s.PGSQL.*")) else None


def _address(sockets: Path) -> str:
    return f"postgresql:///{_DATABASE}?host={quote(str(sockets), safe='')}&user={_ROLE}"


class EmbeddedPostgres:
    """One embedded server.

    Call ``start`` once, from the main thread, and ``stop`` at the end. In between the server is started again whenever it
    dies; its address stays the same.

    Attributes:
        restarts: How often it died and came back.
        last_error: Why it is not back yet, or None while it runs.
    """

    def __init__(self, data_dir: Path | str, *, on_restart: Callable[[], None] | None = None) -> None:
        """Args:
        data_dir: Made when missing. Only this process may use it while we run.
        on_restart: Called whenever a server that died is ready again; must not raise.
        """
        self._folder = Path(data_dir).absolute()
        self._cluster = self._folder / "cluster"
        self.on_restart = on_restart
        self._held = contextlib.ExitStack()  # what start took: given back by stop, or when start fails
        self._child: Child | None = None
        self._supervisor: asyncio.Task[None] | None = None
        self._binaries: Binaries
        self._user: User | None = None
        self._runtime: Path
        self.restarts = 0
        self.last_error: StorageError | None = None

    @property
    def pid(self) -> int | None:
        """The server's process id while it runs."""
        return self._child.pid if self._child is not None and not self._child.died.done() else None

    @property
    def dsn(self) -> str:
        """The address for ``Database``; valid once started."""
        return _address(self._runtime / "socket")

    async def start(self) -> str:
        """Bring the server up (making the cluster the first time) and return its DSN.

        Raises:
            UnusableFolder | DataFolderInUse | WrongVersion | BinariesMissing | PostgresFailed: Nothing is left running or locked.
        """
        try:
            self._lock()
            self._binaries = binaries.find()
            self._check_version()
            await self._vacated(_VACATED_S)
            await self._prepare()
            await self._launch()
        except BaseException:  # also a cancelled start must give back folder and process
            await self.stop()
            raise
        self._supervisor = asyncio.create_task(self._supervise(), name="embedded-postgres")
        return self.dsn

    async def stop(self, timeout_s: float = 3.0) -> None:
        """Shut the server down, keeping everything committed, and let go of the folder. Harmless when repeated.

        Args:
            timeout_s: For the orderly way (connections are cut, the log is flushed). After it the server is stopped the
                hard way, which costs a replay of its log at the next start and nothing else.
        """
        if self._supervisor is not None:
            self._supervisor.cancel()
            await asyncio.wait({self._supervisor})
            self._supervisor = None
        if self._child is not None:
            await _end(self._child, timeout_s)
            await self._gone(1.0)  # the children of a server that was killed end by themselves, a moment later
            self._child = None
        self._held.close()

    # --- The folder ----------------------------------------------------------------------------------------------------

    def _lock(self) -> None:
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            file = self._held.enter_context(
                (self._folder / "lock").open("a+")
            )  # closed by exec: the server never holds it
        except OSError as error:
            raise UnusableFolder(self._folder, error.strerror or type(error).__name__) from None
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip()
            raise DataFolderInUse(self._folder, int(holder) if holder.isdecimal() else None) from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()

    def _check_version(self) -> None:
        for folder in (self._cluster, self._folder):  # the second: somebody named another program's cluster as ours
            with contextlib.suppress(FileNotFoundError):
                found = (folder / "PG_VERSION").read_text().strip()
                if found != self._binaries.major:
                    raise WrongVersion(folder, found, self._binaries.major)

    def _occupants(self) -> list[int]:
        """Return the pids of the Postgres processes that live in the cluster: each has it as working directory."""
        home = str(self._cluster.resolve())
        found = []
        for process in Path("/proc").iterdir():
            with contextlib.suppress(OSError):  # ended meanwhile, or another user's
                if process.name.isdecimal() and os.readlink(process / "cwd") == home:
                    name = (process / "comm").read_text().strip()
                    found += [int(process.name)] if name == "postgres" else []
        return found

    async def _gone(self, timeout_s: float) -> list[int]:
        """Wait until no Postgres lives in the cluster; return who still does when the time is over."""
        deadline = asyncio.get_running_loop().time() + timeout_s
        # Nobody tells of the end of processes that are not our children: they have to be looked at.
        while (left := self._occupants()) and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110 - as said
            await asyncio.sleep(_LOOK_EVERY_S)
        return left

    async def _vacated(self, timeout_s: float) -> None:
        """Wait until what a killed run or a killed server left behind has ended, and clear its pid file.

        The pid in a left-over file may belong to another process by now, and Postgres would refuse to start because of
        it. Here it is certain that the file is stale: we hold the folder, and no Postgres lives in it.

        Raises:
            DataFolderInUse: A Postgres that is not ours keeps running there.
        """
        if left := await self._gone(timeout_s):
            raise DataFolderInUse(self._folder, min(left))
        (self._cluster / "postmaster.pid").unlink(missing_ok=True)

    # --- Making ready --------------------------------------------------------------------------------------------------

    async def _prepare(self) -> None:
        """Choose the server's user, make its runtime folder and, the first time, its cluster."""
        self._user = _server_user(self._cluster)
        self._runtime = self._make_runtime()
        if self._user is not None and not binaries.open_to_others(self._binaries.bin / "postgres"):
            target = self._runtime / "programs"
            target.mkdir()
            self._binaries = await asyncio.to_thread(binaries.copy_for_others, self._binaries, target)
        if not (self._cluster / "PG_VERSION").exists():
            await self._make_cluster()

    def _make_runtime(self) -> Path:
        """Make the folder of the socket. In /tmp, because a socket's path may have 107 bytes, and TMPDIR may be private."""
        note = self._folder / "runtime"
        with contextlib.suppress(FileNotFoundError):
            left = Path(note.read_text().strip())
            if left.name.startswith(_RUNTIME_PREFIX) and not left.is_symlink():
                shutil.rmtree(left, ignore_errors=True)
        runtime = Path(tempfile.mkdtemp(prefix=_RUNTIME_PREFIX, dir="/tmp"))
        note.write_text(f"{runtime}\n")
        self._held.callback(shutil.rmtree, runtime, ignore_errors=True)
        (runtime / "socket").mkdir(mode=0o700)
        if self._user is not None:
            runtime.chmod(0o711)
            os.chown(runtime / "socket", *self._user)
        # Sweepers of /tmp (systemd-tmpfiles) leave alone a folder that somebody holds by flock.
        descriptor = os.open(runtime, os.O_RDONLY | os.O_DIRECTORY)
        self._held.callback(os.close, descriptor)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        return runtime

    async def _make_cluster(self) -> None:
        """Make the cluster under another name first: an initdb that was cut short never looks like a cluster."""
        unfinished = self._folder / "cluster.new"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        if self._user is not None:
            os.chown(unfinished, *self._user)
        child = self._run("initdb", unfinished, *_INITDB_OPTIONS)
        try:
            if not await child.wait(_INITDB_S) or child.died.result() != 0:
                raise PostgresFailed(str(self._folder), "initdb could not make the cluster", tuple(child.log))
        finally:
            await _end(child, 1.0)
        unfinished.rename(self._cluster)

    def _run(self, program: str, data: Path, *options: str) -> Child:
        """Run a program on a data folder.

        As another user the program may have no way to the folder (a root home is 0700, and stays so): it is given an open
        descriptor of it, and reaches it through that.
        """
        path = self._binaries.bin / program
        try:
            if self._user is None:
                return Child([path, "-D", data, *options], user=None)
            descriptor = os.open(data, os.O_RDONLY | os.O_DIRECTORY)
            try:
                way = f"/proc/self/fd/{descriptor}"
                return Child([path, "-D", way, *options], user=self._user, pass_fds=(descriptor,))
            finally:
                os.close(descriptor)
        except OSError as error:
            raise PostgresFailed(str(path), f"it cannot be run ({error})") from error

    # --- Running -------------------------------------------------------------------------------------------------------

    async def _launch(self) -> None:
        settings = {**_SETTINGS, "unix_socket_directories": str(self._runtime / "socket")}
        child = self._run("postgres", self._cluster, *(f"--{name}={value}" for name, value in settings.items()))
        self._child = child
        deadline = asyncio.get_running_loop().time() + _READY_S
        while not self._ready(child.pid):
            if await child.wait(_LOOK_EVERY_S):
                raise PostgresFailed(str(self._folder), "the server ended while starting", tuple(child.log))
            if asyncio.get_running_loop().time() > deadline:
                await _end(child, 1.0)
                raise PostgresFailed(
                    str(self._folder), f"the server was not ready in {_READY_S:.0f} s", tuple(child.log)
                )

    def _ready(self, pid: int) -> bool:
        """Say whether *this* server is ready: a stale file of an earlier one says so too."""
        try:
            lines = (self._cluster / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) >= 8 and lines[0].strip() == str(pid) and lines[7].strip() == "ready"

    async def _supervise(self) -> None:
        clock = asyncio.get_running_loop().time
        early = 0  # deaths in a row soon after a start: a server that cannot live is not started in a tight circle
        while True:
            assert self._child is not None
            up_at = clock()
            status = await asyncio.shield(self._child.died)
            early = early + 1 if clock() - up_at < _SETTLED_S else 0
            _log.warning("embedded Postgres ended with status %s: starting it again", status)
            await self._revive(early)
            self.restarts += 1
            if self.on_restart is not None:
                self.on_restart()

    async def _revive(self, attempt: int) -> None:
        while True:
            if attempt:
                await asyncio.sleep(_REVIVE.delay_s(attempt - 1, random.random()))
            try:
                await self._vacated(_VACATED_S)
                await self._launch()
            except StorageError as error:
                self.last_error = error
                _log.error("embedded Postgres does not come back: %s", error)
                attempt += 1
            else:
                self.last_error = None
                return


def _server_user(cluster: Path) -> User | None:
    """Say whom the server runs as; None: as ourselves. It refuses root: the cluster's owner then, at first ``nobody``."""
    if os.geteuid() != 0:
        return None
    with contextlib.suppress(FileNotFoundError):
        owner = cluster.stat()
        if owner.st_uid != 0:
            return User(owner.st_uid, owner.st_gid)
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError:
        return User(65534, 65534)  # the kernel's own overflow ids
    return User(nobody.pw_uid, nobody.pw_gid)


async def _end(child: Child, timeout_s: float) -> None:
    """End a child: orderly (fast shutdown), then at once (immediate shutdown), then by force; each bounded."""
    for number, patience_s in ((signal.SIGINT, timeout_s), (signal.SIGQUIT, 1.0), (signal.SIGKILL, 5.0)):
        child.signal(number)
        if await child.wait(patience_s):
            break
    child.close()
