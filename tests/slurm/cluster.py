"""A real SLURM cluster on this one machine, for the tests.

    python tests/slurm/cluster.py start DIR     # a short DIR: it becomes part of socket names
    . DIR/env.sh                                # then sinfo, sbatch, squeue, submitit
    python tests/slurm/cluster.py stop DIR

munged, slurmctld, one slurmd for each pretended node and, with accounting, mariadbd and slurmdbd. All of them listen on
the loopback only and need neither systemd nor cgroups; all they own lies in DIR. Standard library only.

Partitions: `main` (the default), `urgent`, whose jobs preempt (requeue) those of the two others when they find no room,
and `fragile`. A job of `main` is warned before: its --signal, then `grace` seconds. One of `fragile` gets its --signal
together with the SIGTERM, `kill_wait` seconds before the SIGKILL; with preempt_warning=False only the SIGTERM.

What cannot be made faster: SLURM looks for jobs over their time limit, or near it, once every 30 s; the number is
compiled in.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

PACKAGES = {"munged": "munge", "slurmctld": "slurmctld", "slurmd": "slurmd", "sbatch": "slurm-client"}
ACCOUNTING_PACKAGES = {
    "slurmdbd": "slurmdbd",
    "mariadbd": "mariadb-server-core",
    "my_print_defaults": "mariadb-client-core",
}
# A pretended GPU needs a device file of its own: SLURM drops one without, and one that shares it. Nothing is confined
# to the file, so any character device will do.
DEVICES = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty"]
MARKER = ".slurm-test-cluster"
MAX_FOLDER = 65  # sockets below it have names of at most 107 bytes
READY = 60.0  # seconds for each thing to become ready


class ClusterError(Exception):
    """The cluster cannot do what was asked; one line says why."""


def _which(program: str) -> str | None:
    return shutil.which(program, path=_search_path())


def _search_path() -> str:
    """PATH with the folders of daemons, which an ordinary user's does not have."""
    return os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])


def _missing(accounting: bool) -> list[str]:
    wanted = PACKAGES | ACCOUNTING_PACKAGES if accounting else PACKAGES
    return [package for program, package in wanted.items() if _which(program) is None]


def unavailable(accounting: bool = True) -> str | None:
    """Why no cluster can be started here, in one line; None if it can, if need be after installing packages."""
    if sys.platform != "linux":
        return f"SLURM runs on Linux only (this is {sys.platform})"
    missing = _missing(accounting)
    if not missing:
        return None
    if shutil.which("apt-get") is None:
        return f"not installed, and no apt-get to install it with: {' '.join(missing)} (Debian's names)"
    if os.geteuid() != 0:
        return f"not installed, and only root can: apt-get install {' '.join(missing)}"
    return None


def _install(accounting: bool) -> None:
    missing = _missing(accounting)
    if not missing:
        return
    install = ["apt-get", "-o", "DPkg::Lock::Timeout=120", "install", "-y", "--no-install-recommends", *missing]
    env = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    # the package lists may be absent or old: a second try with new ones
    for command in (install, ["apt-get", "update"], install):
        done = subprocess.run(command, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if command is install and done.returncode == 0:
            return
    last = (done.stderr.strip() or done.stdout.strip() or "no output").splitlines()[-1]
    raise ClusterError(f"apt-get install {' '.join(missing)} failed: {last}")


# Processes ------------------------------------------------------------------------------------------------------------


def _alive(pid: int, name: str) -> bool:
    """Whether `pid` runs and is that program. A dead process that nobody has waited for yet does not run."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    return status.startswith(f"Name:\t{name}\n") and "\nState:\tZ" not in status


def _processes() -> Iterator[tuple[int, int, set[bytes]]]:
    """(pid, parent's pid, environment at its start) of every process that may be read."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parent = int(folder.joinpath("stat").read_text().rpartition(")")[2].split()[1])
            yield int(folder.name), parent, set(folder.joinpath("environ").read_bytes().split(b"\0"))


def _kill(pids: Iterable[int], number: signal.Signals = signal.SIGKILL) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _wait(what: str, ready: Callable[[], bool], log: Path, seconds: float = READY) -> None:
    end = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > end:
            last = log.read_text(errors="replace").strip().splitlines()[-1:] if log.is_file() else []
            raise ClusterError(f"{what} after {seconds:g} s; {log}: {' '.join(last) or 'empty'}")
        time.sleep(0.05)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return True
    return False


class Cluster:
    """A cluster whose files all lie in `folder` (new, empty, or a cluster's; at most 65 characters).

    nodes, cpus, gpus   pretended nodes node1, node2, ..., and what each has; nothing is measured or confined
    accounting          slurmdbd on MariaDB, so that sacct works; without it sacct fails, as on a real such cluster
    requeue_wait        seconds (5 or more) before a requeued job may start again
    kill_wait           seconds from SIGTERM to SIGKILL for a job that must go
    grace               seconds that a preempted job of `main` has from its warning signal on
    preempt_warning     preempted jobs get the signal of their --signal; False: in no partition
    dead_node           SlurmdTimeout: seconds of silence; SLURM says DOWN about 6 s later
    min_job_age         seconds for which the controller remembers a job that has ended (then up to 60 s more; 10 if
                        it is below 10)
    max_array_size      one more than the largest index of a job array; None: SLURM's 1001
    port                slurmctld's; slurmdbd and the nodes use the next ones. None: free ones are found
    """

    def __init__(
        self,
        folder: Path,
        *,
        nodes: int = 2,
        cpus: int | None = None,
        gpus: int = 2,
        accounting: bool = True,
        requeue_wait: int = 6,
        kill_wait: int = 2,
        grace: int = 20,
        preempt_warning: bool = True,
        dead_node: int = 8,
        min_job_age: int = 300,
        max_array_size: int | None = None,
        port: int | None = None,
    ) -> None:
        self.folder = Path(folder).resolve()
        if not re.fullmatch(r"[\w./-]+", str(self.folder), re.ASCII):
            raise ClusterError(f"{self.folder}: only letters, digits and _ . / - may be in the folder's name")
        if len(str(self.folder)) > MAX_FOLDER:
            raise ClusterError(f"{self.folder}: over {MAX_FOLDER} characters, too long for the names of sockets in it")
        if nodes < 1 or not 0 <= gpus <= len(DEVICES):
            raise ClusterError(f"nodes = {nodes}, gpus = {gpus}: 1 node or more, 0 to {len(DEVICES)} GPUs")
        if requeue_wait < 5 or requeue_wait <= kill_wait:
            raise ClusterError(f"requeue_wait = {requeue_wait}: 5 or more, and above kill_wait = {kill_wait}")
        self.nodes = [f"node{i + 1}" for i in range(nodes)]
        self.cpus, self.gpus, self.accounting = cpus or 4, gpus, accounting
        self.requeue_wait, self.kill_wait, self.grace, self.dead_node = requeue_wait, kill_wait, grace, dead_node
        self.preempt_warning = preempt_warning
        self.min_job_age, self.max_array_size, self.port = min_job_age, max_array_size, port
        self.environment = {
            "SLURM_CONF": str(self.folder / "etc/slurm.conf"),
            "SLURM_BITSTR_LEN": "0",  # squeue else cuts a long list of array indices short with "..."
            "PATH": _search_path(),
        }

    # The whole -------------------------------------------------------------------------------------------------------

    def start(self, fresh: bool = False) -> None:
        """Starts what does not run yet and waits until jobs can run. `fresh`: stops first and forgets everything.

        ClusterError: it cannot; in one line."""
        if reason := unavailable(self.accounting):
            raise ClusterError(reason)
        _install(self.accounting)
        self._own_folder()
        if fresh:
            self.stop()
            for path in self.folder.iterdir():
                if path.is_dir():
                    shutil.rmtree(path)
                elif path.name != MARKER:
                    path.unlink()
        for name in ("etc", "run", "log", "state", "spool", "db", "munge"):
            # the key and the database are secret
            (self.folder / name).mkdir(mode=0o700 if name in ("state", "db", "munge") else 0o755, exist_ok=True)
        self._choose_port()
        self._configure()
        self._resolve_names()
        self._start_munged()
        if self.accounting:
            self._start_database()
        self.start_controller()
        for node in self.nodes:
            if not self._pid(f"slurmd.{node}"):
                self._start_slurmd(node)
        for node in self.nodes:
            self._until_usable(node)

    def stop(self) -> None:
        """Cancels the jobs and ends every process of this cluster, and no other. Harmless if none runs."""
        if self._pid("slurmctld") and self._answers("scontrol", "ping"):
            # first through the front door, so that a later start finds no job half done
            self._client("scancel", *self._client("squeue", "-ha", "-o", "%A", check=False).split(), check=False)
            with contextlib.suppress(ClusterError):
                # what resists is killed below
                gone = lambda: not self._client("squeue", "-ha", check=False)  # noqa: E731
                _wait("jobs remain", gone, self._log("slurmctld"), self.kill_wait + 1)
        for name in [path.stem for path in self.folder.glob("run/slurmd.*.pid")]:
            self._end(name)
        _kill(self._job_processes())
        for name in ("slurmctld", "slurmdbd", "mariadbd", "munged"):
            self._end(name)

    def status(self) -> str:
        """One line for each daemon that this folder knows, and what sinfo says if the controller answers."""
        names = sorted(path.stem for path in self.folder.glob("run/*.pid"))
        lines = [f"{name:14}" + (f"runs, pid {pid}" if (pid := self._pid(name)) else "does not run") for name in names]
        if self._pid("slurmctld") and self._answers("scontrol", "ping"):
            lines.append(self._client("sinfo", "-N", "-o", "%10N %10P %10T cpus=%c mem=%m %G"))
        return "\n".join(lines) or f"{self.folder}: no cluster was started here"

    # Mishaps ---------------------------------------------------------------------------------------------------------

    def slurmd_pid(self, node: str) -> int:
        """ClusterError: it does not run."""
        if pid := self._pid(f"slurmd.{node}"):
            return pid
        raise ClusterError(f"slurmd of {node} does not run")

    def kill_slurmd(self, node: str, *, with_jobs: bool = False) -> None:
        """SIGKILL for a node's slurmd. SLURM sees a dead node, but its jobs go on, as when only the network fails.

        with_jobs: for them too, as when the machine dies."""
        pid = self.slurmd_pid(node)
        _kill([pid])
        _wait(f"slurmd of {node} does not die", lambda: not _alive(pid, "slurmd"), self._log(f"slurmd.{node}"))
        if with_jobs:
            processes = self._job_processes(node)
            # All stand still before the first is killed: a slurmstepd would still report how its job ended.
            _kill(processes, signal.SIGSTOP)
            _kill(processes)

    def start_slurmd(self, node: str) -> None:
        """Starts a node's slurmd if it does not run, and waits until the node takes jobs again."""
        if not self._pid(f"slurmd.{node}"):
            self._start_slurmd(node)
        self._until_usable(node)

    def stop_controller(self) -> None:
        """From now on no client gets an answer; running jobs go on."""
        self._end("slurmctld")

    def start_controller(self) -> None:
        """Starts slurmctld if it does not run, and waits until it answers."""
        if not self._pid("slurmctld"):
            self._daemon("slurmctld", ["slurmctld", "-f", self.environment["SLURM_CONF"]])
        # ping answers at once; any other client takes 9 s to find that there is no controller
        _wait("slurmctld does not answer", lambda: self._answers("scontrol", "ping"), self._log("slurmctld"))

    # Parts -----------------------------------------------------------------------------------------------------------

    def _own_folder(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        marker = self.folder / MARKER
        if not marker.exists() and any(self.folder.iterdir()):
            raise ClusterError(f"{self.folder}: neither empty nor a test cluster's folder")
        marker.touch()

    def _choose_port(self) -> None:
        """A cluster keeps its ports for life: its saved state names them."""
        chosen = self.folder / "etc/port"
        if self.port is None and chosen.exists():
            self.port = int(chosen.read_text())
        for _ in range(100):
            if self.port is not None:
                break
            # below the ports that the system hands out by itself; at random, for the sake of a cluster beside this one
            first = random.SystemRandom().randrange(20000, 32000)
            if all(_is_free(port) for port in range(first, first + 2 + len(self.nodes))):
                self.port = first
        if self.port is None:
            raise ClusterError("no free ports found between 20000 and 32000")
        chosen.write_text(f"{self.port}\n")

    def _resolve_names(self) -> None:
        """Node names must resolve: a distributed job's master address is the first of them."""
        hosts = Path("/etc/hosts")
        known = {word for line in hosts.read_text().splitlines() for word in line.partition("#")[0].split()[1:]}
        lines = "".join(f"127.0.0.1 {node}\n" for node in self.nodes if node not in known)
        if lines:
            try:
                with hosts.open("a") as file:
                    file.write(lines)
            except OSError:
                print(f"note: cannot write {hosts}; jobs on several nodes need MASTER_ADDR=127.0.0.1", file=sys.stderr)

    def _configure(self) -> None:
        assert self.port is not None
        folder, host, count = self.folder, os.uname().nodename.partition(".")[0], len(self.nodes)
        user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
        munge = folder / "run/munge.socket"
        node_names = "node1" if count == 1 else f"node[1-{count}]"
        node_ports = f"{self.port + 2}" if count == 1 else f"[{self.port + 2}-{self.port + 1 + count}]"
        if self.accounting:
            # AccountingStoragePass names the socket once more: AuthInfo does not hold for the way to slurmdbd
            accounting = f"""AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={self.port + 1}
AccountingStoragePass={munge}"""
        else:
            accounting = "AccountingStorageType=accounting_storage/none"
        # cred_expire is also how long a requeued job waits (120 s by default). After a node failure nothing else keeps
        # the new start apart from the end of the old processes (KillWait): if these still run, slurmd refuses a second
        # copy, and the job is held and the node drained.
        conf = f"""ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={self.port}
SlurmUser={user}
SlurmdUser={user}
# listen on the loopback only
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={munge},cred_expire={self.requeue_wait}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/run/slurmctld.pid
SlurmdPidFile={folder}/run/slurmd.%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd.%n.log
# nothing is confined, pinned or measured
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SwitchType=switch/none
MpiDefault=none
PropagateResourceLimits=NONE
{accounting}
MinJobAge={self.min_job_age}
{f"MaxArraySize={self.max_array_size}" if self.max_array_size else ""}
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=256
# believe the node's line, not the hardware
SlurmdParameters=config_overrides
SchedulerType=sched/backfill
# look for work every second, and at a submitted job at once; the last two by default after 3 and 2 s
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0
JobRequeue=1
# a node that comes back is used again
ReturnToService=2
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
{"SlurmctldParameters=preempt_send_user_signal" if self.preempt_warning else ""}
KillWait={self.kill_wait}
OverTimeLimit=0
SlurmdTimeout={self.dead_node}
# a dead node is pinged for that long, and more than once, before it counts as down: by default 27 s in all
MessageTimeout=4
SlurmctldTimeout=30
InactiveLimit=0
BatchStartTimeout=10
{"GresTypes=gpu" if self.gpus else ""}
NodeName={node_names} NodeHostname={host} NodeAddr=127.0.0.1 Port={node_ports} CPUs={self.cpus} RealMemory=65536 \
{f"Gres=gpu:{self.gpus}" if self.gpus else ""} State=UNKNOWN
# LLN: the least loaded node first, so that even two jobs spread over two nodes
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE PriorityTier=1 LLN=YES GraceTime={self.grace}
PartitionName=fragile Nodes=ALL MaxTime=INFINITE PriorityTier=1 LLN=YES GraceTime=0
PartitionName=urgent Nodes=ALL MaxTime=INFINITE PriorityTier=10 LLN=YES PreemptMode=OFF
"""
        path = folder / "etc/slurm.conf"
        if self._pid("slurmctld") and path.read_text() != conf:
            raise ClusterError(f"{folder}: runs already, with other settings; stop it first or start it fresh")
        path.write_text(conf)
        gpus = f"NodeName={node_names} Name=gpu File={','.join(DEVICES[: self.gpus])}\n" if self.gpus else ""
        path.with_name("gres.conf").write_text("AutoDetect=off\n" + gpus)
        path.with_name("slurmdbd.conf").write_text(f"""AuthType=auth/munge
AuthInfo=socket={munge}
CommunicationParameters=NoInAddrAny
DbdHost={host}
DbdAddr=127.0.0.1
DbdPort={self.port + 1}
SlurmUser={user}
LogFile={folder}/log/slurmdbd.log
PidFile={folder}/run/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser={user}
StorageLoc=slurm_acct_db
""")
        path.with_name("slurmdbd.conf").chmod(0o600)  # slurmdbd insists
        (folder / "env.sh").write_text(
            f"export SLURM_CONF={path}\nexport SLURM_BITSTR_LEN=0\n"
            "case :$PATH: in *:/usr/sbin:*) ;; *) export PATH=$PATH:/usr/sbin:/sbin ;; esac\n"
        )

    def _start_munged(self) -> None:
        run, key, munge = self.folder / "run", self.folder / "munge/key", self.folder / "run/munge.socket"
        if not key.exists():
            key.touch(mode=0o600)
            key.write_bytes(os.urandom(128))
        if not self._pid("munged"):
            # --force: it would refuse a folder below one that others can write to, such as /tmp
            command = ["munged", "--force", f"--key-file={key}", f"--seed-file={key.with_name('seed')}"]
            command += [f"--socket={munge}", f"--pid-file={run}/munged.pid", f"--log-file={self._log('munged')}"]
            self._daemon("munged", command)
        _wait("munged does not answer", lambda: self._answers("munge", "-n", "-S", str(munge)), self._log("munged"))

    def _start_database(self) -> None:
        run, data = self.folder / "run", self.folder / "db"
        user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
        small = ["--innodb-log-file-size=8M", "--innodb-flush-method=nosync", f"--datadir={data}", f"--user={user}"]
        if not self._pid("mariadbd"):
            complete = data / "complete"
            if not complete.exists():
                shutil.rmtree(data)
                data.mkdir(mode=0o700)
                # the user that slurmdbd runs as gets in through the socket, without a password
                access = ["--auth-root-authentication-method=socket", f"--auth-root-socket-user={user}"]
                create = ["mariadb-install-db", "--no-defaults", "--skip-test-db", "--skip-name-resolve"]
                self._daemon("mariadb-install-db", [*create, *access, *small])
                complete.touch()
            (run / "mariadbd.sock").unlink(missing_ok=True)
            command = ["mariadbd", "--no-defaults", f"--socket={run}/mariadbd.sock", f"--pid-file={run}/mariadbd.pid"]
            command += [f"--log-error={self._log('mariadbd')}", "--skip-networking", "--skip-name-resolve", *small]
            command += ["--skip-log-bin", "--performance-schema=OFF", "--innodb-buffer-pool-size=32M"]
            # slurmdbd asks for the long lock wait
            command += ["--innodb-flush-log-at-trx-commit=0", "--innodb-lock-wait-timeout=900"]
            self._daemon("mariadbd", ["setsid", "--fork", *command])  # it does not go into the background itself
        _wait(
            "mariadbd is not ready",
            lambda: bool(self._pid("mariadbd")) and (run / "mariadbd.sock").is_socket(),
            self._log("mariadbd"),
        )
        if not self._pid("slurmdbd"):
            # the client library takes "localhost" for the socket that this names
            self._daemon("slurmdbd", ["slurmdbd"], {"MYSQL_UNIX_PORT": f"{run}/mariadbd.sock"})
        # slurmctld's first start fails unless slurmdbd answers
        ready = ("sacctmgr", "-n", "list", "cluster")
        _wait("slurmdbd does not answer", lambda: self._answers(*ready), self._log("slurmdbd"))

    def _start_slurmd(self, node: str) -> None:
        (self.folder / "spool" / node).mkdir(exist_ok=True)
        # its environment also marks what it starts as this node's, see _job_processes
        command = ["slurmd", "-f", self.environment["SLURM_CONF"], "-N", node]
        self._daemon(f"slurmd.{node}", command, {"SLURMD_NODENAME": node})

    def _until_usable(self, node: str) -> None:
        def usable() -> bool:
            state = self._client("sinfo", "-h", "-N", "-n", node, "-p", "main", "-o", "%T", check=False)
            if state.startswith(("down", "drain")):
                self._client("scontrol", "update", f"NodeName={node}", "State=RESUME", check=False)
            # a "*" at the end: it does not answer yet
            return state in ("idle", "mixed", "allocated", "completing")

        _wait(f"{node} is not ready", usable, self._log(f"slurmd.{node}"))

    def _log(self, name: str) -> Path:
        return self.folder / "log" / f"{name}.log"

    def _pid(self, name: str) -> int | None:
        """The process id of one of this cluster's daemons; None if it does not run."""
        try:
            pid = int((self.folder / "run" / f"{name}.pid").read_text())
        except (OSError, ValueError):
            return None
        return pid if _alive(pid, name.partition(".")[0]) else None

    def _end(self, name: str) -> None:
        """Ends a daemon: SIGTERM, and SIGKILL if it still runs after 10 s."""
        if pid := self._pid(name):
            os.kill(pid, signal.SIGTERM)
            try:
                _wait(name, lambda: self._pid(name) != pid, self._log(name), 10)
            except ClusterError:
                _kill([pid])
        (self.folder / "run" / f"{name}.pid").unlink(missing_ok=True)

    def _job_processes(self, node: str | None = None) -> set[int]:
        """Every process that belongs to a job (of `node`): they outlive slurmd.

        Known by their environment, a job's own as well as its slurmstepd's, or by their parents."""
        mine = f"SLURM_CONF={self.environment['SLURM_CONF']}".encode()
        mark = f"SLURMD_NODENAME={node or ''}".encode()
        table = list(_processes())
        daemons = {pid for path in self.folder.glob("run/*.pid") if (pid := self._pid(path.stem))}
        found = {pid for pid, _, env in table if mine in env and any(word.startswith(mark) for word in env)} - daemons
        while more := {pid for pid, parent, _ in table if parent in found} - found:
            found |= more
        return found

    def _daemon(self, name: str, command: list[str], env: dict[str, str] | None = None) -> None:
        """Runs a command that puts itself into the background, away from this process's terminal."""
        (self.folder / "run" / f"{name}.pid").unlink(missing_ok=True)
        output = self.folder / "log" / f"{name}.out"
        env = os.environ | self.environment | (env or {})
        with output.open("wb") as out:
            done = subprocess.run(
                command,
                env=env,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        if done.returncode:
            text = output.read_text(errors="replace").strip() or "it said nothing"
            raise ClusterError(f"{name} did not start: {text.splitlines()[-1]} ({output})")

    def _run(self, *command: str) -> subprocess.CompletedProcess[str]:
        env = os.environ | self.environment
        return subprocess.run(command, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True)

    def _answers(self, *command: str) -> bool:
        return self._run(*command).returncode == 0

    def _client(self, *command: str, check: bool = True) -> str:
        """What a SLURM command prints."""
        done = self._run(*command)
        if check and done.returncode:
            raise ClusterError(f"{' '.join(command)}: {done.stderr.strip().splitlines()[-1:]}")
        return done.stdout.strip()


def main() -> None:
    parser = argparse.ArgumentParser(description="A real SLURM cluster on this one machine, for the tests.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("start", "stop", "status"):
        command = commands.add_parser(name)
        command.add_argument("folder", type=Path, metavar="DIR")
        if name == "start":
            command.add_argument("--accounting", choices=["dbd", "none"], default="dbd", help="with or without sacct")
            command.add_argument("--nodes", type=int, default=2)
            command.add_argument("--gpus", type=int, default=2, help="of each node")
            command.add_argument("--cpus", type=int, default=None, help="of each node (4)")
            command.add_argument("--fresh", action="store_true", help="forget every earlier job")
    given = parser.parse_args()
    try:
        if given.command == "start":
            accounting = given.accounting == "dbd"
            cluster = Cluster(given.folder, nodes=given.nodes, gpus=given.gpus, cpus=given.cpus, accounting=accounting)
            cluster.start(given.fresh)
            print(f"{cluster.status()}\nuse:   . {cluster.folder}/env.sh\nstop:  {sys.argv[0]} stop {cluster.folder}")
        elif given.command == "stop":
            Cluster(given.folder).stop()
        else:
            print(Cluster(given.folder).status())
    except ClusterError as error:
        sys.exit(f"cluster: {error}")


if __name__ == "__main__":
    main()
