#!/usr/bin/env bash
# A run in shards under a real Slurm: two nodes on this machine, one of which is killed in the middle. The merged files must be those of one machine.
#   tests/slurm/run.sh path/to/fame-cli [TASKS]
# Needs slurm-wlm and munge (Debian: apt install slurm-wlm munge) and root, who may run slurmctld for everybody. Nothing is left behind: all lies in a
# temporary folder, and what was started is ended by its process id. Exit code 77: Slurm is not installed here, or does not start.
set -euo pipefail
fame="$(realpath "$1")"
tasks="${2:-8}"
for program in slurmctld slurmd munged sbatch; do
    command -v "$program" >/dev/null || { echo "no $program here: not run"; exit 77; }
done

work="$(mktemp -d /tmp/fame-slurm.XXXXXX)"
chmod 755 "$work"
started=()
finish() {
    for id in "${started[@]}" $(cat "$work"/*.pid 2>/dev/null || true); do kill "$id" 2>/dev/null || true; done
    sleep 1
    for id in "${started[@]}"; do kill -9 "$id" 2>/dev/null || true; done
    [ -n "${KEEP:-}" ] || rm -rf "$work"
}
trap finish EXIT

# Who is who: a key of our own, on a socket of our own.
install -d -m 700 "$work/munge"
head -c 1024 /dev/urandom >"$work/munge/key"
chmod 400 "$work/munge/key"
munged --foreground --force --key-file="$work/munge/key" --socket="$work/munge.socket" --pid-file="$work/munge/pid" \
    --log-file="$work/munge/log" --seed-file="$work/munge/seed" >"$work/munged.log" 2>&1 &
started+=($!)

host="$(hostname)"
mkdir "$work/state"
cat >"$work/slurm.conf" <<CONF
ClusterName=fame
SlurmctldHost=$host(127.0.0.1)
AuthType=auth/munge
AuthInfo=socket=$work/munge.socket
CredType=cred/munge
SlurmUser=root
SlurmctldPort=17001
SlurmctldPidFile=$work/slurmctld.pid
SlurmdPidFile=$work/slurmd.%n.pid
StateSaveLocation=$work/state
SlurmdSpoolDir=$work/spool.%n
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
ReturnToService=2
SlurmdTimeout=10
MaxArraySize=7
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
NodeName=one NodeHostname=$host NodeAddr=127.0.0.1 Port=17003 CPUs=1
NodeName=two NodeHostname=$host NodeAddr=127.0.0.1 Port=17004 CPUs=1
PartitionName=all Nodes=one,two Default=YES MaxTime=INFINITE State=UP
CONF
echo "CgroupAutomount=no" >"$work/cgroup.conf"
export SLURM_CONF="$work/slurm.conf"
slurmctld -D >"$work/slurmctld.log" 2>&1 &
started+=($!)
node() {
    mkdir -p "$work/spool.$1"
    slurmd -D -N "$1" >>"$work/slurmd.$1.log" 2>&1 &
    started+=($!)
    eval "node_$1=$!"
}
node one
node two
wait_for() { # seconds, then a command that is true in the end, asked five times a second
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        [ "$SECONDS" -lt "$end" ] || { echo "waited in vain for: $*"; sinfo -N || true; squeue || true; tail -n 5 "$work"/*.log; exit 1; }
        sleep 0.2
    done
}
both_idle() { [ "$(sinfo --noheader -N -o %t 2>/dev/null | grep -c '^idle$')" = 2 ]; }
(wait_for 60 both_idle) || { echo "Slurm is installed, but does not start on this machine: not run"; exit 77; }
echo "two nodes are up:"
sinfo -N

# Drawn pictures, and so many steps that each task takes seconds on a fast machine too: one must be at work on either node when a node goes. With a
# third of the steps a machine had finished all tasks between two looks.
cd "$work"
export FAME_CACHE="$work/cache"
cat >r.ron <<'RON'
(model: "shapes", data: Shapes(count: 24), explain: {"fame": Fame(perturbation: Lots(iterations: 1000)), "random": RandomMap()}, metrics: [PointingGame()], write: [Npy()])
RON
"$fame" run r.ron --out one >one.log 2>&1
"$fame" submit r.ron --out many --tasks "$tasks" | tee submitted.log
grep -q '10 minutes for each task by the pilot item' submitted.log || { echo "no time limit by a pilot"; exit 1; }
shards_running() { "$fame" status many 2>/dev/null | grep -c running || true; }
two_at_work() { [ "$(shards_running)" = 2 ]; }
wait_for 60 two_at_work
squeue
"$fame" status many

echo "node two goes: its daemon, and what it runs"
victims="$(pgrep -P "$node_two" || true)"
kill -9 "$node_two"
for step in $(pgrep -f "slurmstepd: \[" || true); do
    grep -qz "^SLURMD_NODENAME=two$" "/proc/$step/environ" 2>/dev/null && victims="$victims $step"
done
for process in $(pgrep -f "$fame run" || true); do
    grep -qz "^SLURMD_NODENAME=two$" "/proc/$process/environ" 2>/dev/null && victims="$victims $process"
done
for process in $victims; do kill -9 "$process" 2>/dev/null || true; done
node_is_down() { sinfo --noheader -n two -N -o %t | grep -q '^down'; }
wait_for 120 node_is_down
sinfo -N
squeue
"$fame" status many
echo "node two comes back"
node two
all_done() { [ -z "$(squeue --noheader)" ]; }
wait_for 600 all_done

cat many/slurm/merge.log
restarted="$(grep -l 'kept' many/slurm/*_*.log | wc -l)"
echo "tasks that went on where they had been broken off: $restarted"
[ -f many/run.json ] || { echo "not merged"; exit 1; }
same() { diff -r --exclude=run.json --exclude=items.jsonl --exclude=slurm one many; }
same && echo "byte for byte what one machine wrote: $(find many -type f | grep -cv slurm/) files"
"$fame" verify-run many
