"""The settings of the test cluster: slurm.conf, gres.conf and slurmdbd.conf."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

from cluster_machine import DEVICES

if TYPE_CHECKING:
    from cluster import Cluster


def settings(cluster: Cluster) -> dict[str, str]:
    """The texts of a cluster's files by name."""
    assert cluster.port is not None
    folder, host, count = cluster.folder, os.uname().nodename.partition(".")[0], len(cluster.nodes)
    user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
    munge = folder / "run/munge.socket"
    node_names = "node1" if count == 1 else f"node[1-{count}]"
    node_ports = f"{cluster.port + 2}" if count == 1 else f"[{cluster.port + 2}-{cluster.port + 1 + count}]"
    if cluster.accounting:
        # AccountingStoragePass names the socket once more: AuthInfo does not hold for the way to slurmdbd
        accounting = f"""AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={cluster.port + 1}
AccountingStoragePass={munge}"""
    else:
        accounting = "AccountingStorageType=accounting_storage/none"
    # cred_expire is also how long a requeued job waits (120 s by default). After a node failure nothing else keeps
    # the new start apart from the end of the old processes (KillWait): if these still run, slurmd refuses a second
    # copy, and the job is held and the node drained.
    conf = f"""ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={cluster.port}
SlurmUser={user}
SlurmdUser={user}
# listen on the loopback only
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={munge},cred_expire={cluster.requeue_wait}
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
MinJobAge={cluster.min_job_age}
{f"MaxArraySize={cluster.max_array_size}" if cluster.max_array_size else ""}
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
{"SlurmctldParameters=preempt_send_user_signal" if cluster.preempt_warning else ""}
KillWait={cluster.kill_wait}
OverTimeLimit=0
SlurmdTimeout={cluster.dead_node}
# a dead node is pinged for that long, and more than once, before it counts as down: by default 27 s in all
MessageTimeout=4
SlurmctldTimeout=30
InactiveLimit=0
BatchStartTimeout=10
{"GresTypes=gpu" if cluster.gpus else ""}
NodeName={node_names} NodeHostname={host} NodeAddr=127.0.0.1 Port={node_ports} CPUs={cluster.cpus} RealMemory=65536 \
{f"Gres=gpu:{cluster.gpus}" if cluster.gpus else ""} State=UNKNOWN
# LLN: the least loaded node first, so that even two jobs spread over two nodes
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE PriorityTier=1 LLN=YES GraceTime={cluster.grace}
PartitionName=fragile Nodes=ALL MaxTime=INFINITE PriorityTier=1 LLN=YES GraceTime=0
PartitionName=urgent Nodes=ALL MaxTime=INFINITE PriorityTier=10 LLN=YES PreemptMode=OFF
"""
    gpus = f"NodeName={node_names} Name=gpu File={','.join(DEVICES[: cluster.gpus])}\n" if cluster.gpus else ""
    database = f"""AuthType=auth/munge
AuthInfo=socket={munge}
CommunicationParameters=NoInAddrAny
DbdHost={host}
DbdAddr=127.0.0.1
DbdPort={cluster.port + 1}
SlurmUser={user}
LogFile={folder}/log/slurmdbd.log
PidFile={folder}/run/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser={user}
StorageLoc=slurm_acct_db
"""
    return {"slurm.conf": conf, "gres.conf": "AutoDetect=off\n" + gpus, "slurmdbd.conf": database}
