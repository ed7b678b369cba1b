#!/bin/sh
# The init of a sandbox, run as `tini -- busybox sh init.sh`. tini reaps orphans and passes signals to this script; this script
# keeps the supervisor running and ends everything in order on SIGTERM.
#
# Every program is called by its path in the bundle: the image may hold nothing.
#
#   COPPICE_RUNTIME_DIR  the bundle, default /.coppice
#   COPPICE_STATE_DIR    where `exit` records a normal end, default /.coppice-state
#   COPPICE_OWN_PIDNS    1 when the driver gave this sandbox its own PID namespace: only then may `kill -1` be used

runtime=${COPPICE_RUNTIME_DIR:-/.coppice}
state=${COPPICE_STATE_DIR:-/.coppice-state}
busybox=$runtime/busybox

# Seconds. The supervisor needs its execs' grace (2 by default) and a moment to flush its journals.
supervisor_grace=10
rest_grace=2

say() { echo "coppice-init: $*" >&2; }

seconds_up() {
  read -r up _ </proc/uptime
  echo "${up%%.*}"
}

# Sleeps in the foreground. That also collects dead children, so that the `kill -0` after it does not see zombies.
tick() { "$busybox" sleep 0.02; }

# wait_gone TARGET SECONDS: true when nothing answers to TARGET (a PID, or -1 for all) within the time.
wait_gone() {
  deadline=$(($(seconds_up) + $2))
  while kill -0 "$1" 2>/dev/null; do
    [ "$(seconds_up)" -lt "$deadline" ] || return 1
    tick
  done
}

# Without a PID namespace: what has lost its parent has become a child of tini (a subreaper then), like this script.
orphans() {
  "$busybox" ps -o pid,ppid | while read -r pid parent; do
    if [ "$parent" = "$PPID" ] && [ "$pid" != $$ ]; then echo "$pid"; fi
  done
}

end_orphans() {
  round=0
  # Killing one hands its children to tini: again until none is left.
  while [ "$round" -lt 100 ]; do
    found=$(orphans)
    [ -n "$found" ] || return
    # shellcheck disable=SC2086 # the PIDs are words
    kill -KILL $found 2>/dev/null
    tick
    round=$((round + 1))
  done
}

# Order matters: the supervisor first, because it ends its execs with their grace and writes down how they ended.
finish() {
  trap '' TERM INT HUP
  say 'asked to end'
  # $! is the supervisor, or the pause before its next start. Not a variable: the signal may come before one could be set.
  if [ -n "$!" ]; then
    kill -TERM "$!" 2>/dev/null
    wait_gone "$!" "$supervisor_grace" || { say 'the supervisor did not end in time'; kill -KILL "$!" 2>/dev/null; }
  fi
  if [ "$COPPICE_OWN_PIDNS" = 1 ] && [ "$PPID" = 1 ]; then
    kill -TERM -1 2>/dev/null
    wait_gone -1 "$rest_grace" || kill -KILL -1 2>/dev/null
  else
    end_orphans
  fi
  printf '{"reason":"ended","exitCode":0}\n' >"$state/exit"
  say 'ended'
  exit 0
}

"$busybox" rm -f "$state/exit"
trap finish TERM INT
read -r flags <"$runtime/supervisor-flags"
delay=0.1
while :; do
  began=$(seconds_up)
  # It opens nothing of the image before it serves: a FIFO in the place of a time zone would keep it waiting for ever. Execs get none
  # of these.
  # shellcheck disable=SC2086 # the flags are words
  TZ=UTC TZDIR="$runtime/none" OPENSSL_CONF="$runtime/none" \
    "$runtime/ld.so" --library-path "$runtime/lib" "$runtime/coppice-supervisor" $flags "$runtime/supervisor.mjs" </dev/null &
  wait "$!"
  say "the supervisor ended with status $?, starting it again in $delay s"
  # Back within 5 s whatever happens: the longest pause is 2 s, and a run of 10 s clears the record.
  [ $(($(seconds_up) - began)) -lt 10 ] || delay=0.1
  "$busybox" sleep "$delay" &
  wait "$!"
  case $delay in
    0.1) delay=0.2 ;;
    0.2) delay=0.5 ;;
    0.5) delay=1 ;;
    *) delay=2 ;;
  esac
done
