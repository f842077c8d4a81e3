"""A real SLURM cluster on this one machine, for the tests.

    python tests/slurm/cluster.py start DIR     # a short DIR: it becomes part of socket names
    . DIR/env.sh                                # then sinfo, sbatch, squeue, submitit
    python tests/slurm/cluster.py stop DIR

munged, slurmctld, one slurmd for each pretended node and, with accounting, mariadbd and slurmdbd. All of them listen on
the loopback only and need neither systemd nor cgroups; all they own lies in DIR. Standard library only.

Partitions: `main` (the default), `urgent`, whose jobs preempt (requeue) those of the two others when they find no room,
and `fragile`. A job of `main` is warned before: its --signal, then `grace` seconds. One of `fragile` gets its --signal
together with the SIGTERM, `kill_wait` seconds before the SIGKILL; with preempt_warning=False only the SIGTERM.

What cannot be made faster: SLURM looks for jobs near their time limit once every 30 s; the number is compiled in."""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from cluster_machine import (
    DEVICES,
    MARKER,
    MAX_FOLDER,
    ClusterError,
    alive,
    install,
    is_free,
    kill,
    processes,
    search_path,
    unavailable,
    wait_for,
)
from cluster_settings import settings


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
            "PATH": search_path(),
        }

    # The whole -------------------------------------------------------------------------------------------------------

    def start(self, fresh: bool = False) -> None:
        """Starts what does not run yet and waits until jobs can run. `fresh`: stops first and forgets everything.

        ClusterError: it cannot; in one line."""
        if reason := unavailable(self.accounting):
            raise ClusterError(reason)
        install(self.accounting)
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
                wait_for("jobs remain", gone, self._log("slurmctld"), self.kill_wait + 1)
        for name in [path.stem for path in self.folder.glob("run/slurmd.*.pid")]:
            self._end(name)
        kill(self._job_processes())
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
        kill([pid])
        wait_for(f"slurmd of {node} does not die", lambda: not alive(pid, "slurmd"), self._log(f"slurmd.{node}"))
        if with_jobs:
            processes = self._job_processes(node)
            # All stand still before the first is killed: a slurmstepd would still report how its job ended.
            kill(processes, signal.SIGSTOP)
            kill(processes)

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
        wait_for("slurmctld does not answer", lambda: self._answers("scontrol", "ping"), self._log("slurmctld"))

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
            if all(is_free(port) for port in range(first, first + 2 + len(self.nodes))):
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
        texts = settings(self)
        path = self.folder / "etc/slurm.conf"
        if self._pid("slurmctld") and path.read_text() != texts["slurm.conf"]:
            raise ClusterError(f"{self.folder}: runs already, with other settings; stop it first or start it fresh")
        for name, text in texts.items():
            path.with_name(name).write_text(text)
        path.with_name("slurmdbd.conf").chmod(0o600)  # slurmdbd insists
        (self.folder / "env.sh").write_text(
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
        wait_for("munged does not answer", lambda: self._answers("munge", "-n", "-S", str(munge)), self._log("munged"))

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
        wait_for(
            "mariadbd is not ready",
            lambda: bool(self._pid("mariadbd")) and (run / "mariadbd.sock").is_socket(),
            self._log("mariadbd"),
        )
        if not self._pid("slurmdbd"):
            # the client library takes "localhost" for the socket that this names
            self._daemon("slurmdbd", ["slurmdbd"], {"MYSQL_UNIX_PORT": f"{run}/mariadbd.sock"})
        # slurmctld's first start fails unless slurmdbd answers
        ready = ("sacctmgr", "-n", "list", "cluster")
        wait_for("slurmdbd does not answer", lambda: self._answers(*ready), self._log("slurmdbd"))

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

        wait_for(f"{node} is not ready", usable, self._log(f"slurmd.{node}"))

    def _log(self, name: str) -> Path:
        return self.folder / "log" / f"{name}.log"

    def _pid(self, name: str) -> int | None:
        """The process id of one of this cluster's daemons; None if it does not run."""
        try:
            pid = int((self.folder / "run" / f"{name}.pid").read_text())
        except (OSError, ValueError):
            return None
        return pid if alive(pid, name.partition(".")[0]) else None

    def _end(self, name: str) -> None:
        """Ends a daemon: SIGTERM, and SIGKILL if it still runs after 10 s."""
        if pid := self._pid(name):
            os.kill(pid, signal.SIGTERM)
            try:
                wait_for(name, lambda: self._pid(name) != pid, self._log(name), 10)
            except ClusterError:
                kill([pid])
        (self.folder / "run" / f"{name}.pid").unlink(missing_ok=True)

    def _job_processes(self, node: str | None = None) -> set[int]:
        """Every process that belongs to a job (of `node`): they outlive slurmd.

        Known by their environment, a job's own as well as its slurmstepd's, or by their parents."""
        mine = f"SLURM_CONF={self.environment['SLURM_CONF']}".encode()
        mark = f"SLURMD_NODENAME={node or ''}".encode()
        table = list(processes())
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
