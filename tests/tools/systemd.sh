#!/bin/bash
# systemd.sh BINARY SCRIPT ARGUMENT...   runs a script on a machine of its own, whose first process is a real systemd.
#
# The machine is this one, seen through namespaces. Its root file system is an overlay, so that everything written there (a systemd that
# boots empties /tmp, for one) goes to memory and is gone at the end; /proc and /sys cannot be changed; its network is loopback alone.
# BINARY is put to /usr/local/bin/countersign there. Needs root and Debian's systemd. Exit status: that of the script.
set -euo pipefail
if [ "${1:-}" != inside ]; then
  folder=$(mktemp -d)
  mkdir "$folder/shared"
  install -m 755 "$1" "$folder/shared/countersign"
  cp "$2" "$folder/shared/script"
  printf '%q ' "${@:3}" > "$folder/shared/arguments"
  # Its end takes everything with it that it started.
  unshare --pid --fork --kill-child --mount --uts --ipc --net --cgroup "$(realpath "$0")" inside "$folder" > "$folder/console" 2>&1 < /dev/null &
  machine=$!
  trap '{ kill -KILL $machine; wait $machine; rm -rf "$folder"; } 2> /dev/null || true' EXIT
  for _ in $(seq 1500); do
    [ ! -e "$folder/shared/status" ] && kill -0 $machine 2> /dev/null || break
    sleep 0.2
  done
  cat "$folder/shared/output" 2> /dev/null || cat "$folder/console" "$folder/shared/console"
  [ -e "$folder/shared/status" ] || { echo "systemd.sh: the script did not end" >&2; exit 1; }
  exit "$(cat "$folder/shared/status")"
fi

folder=$2
mount --make-rprivate /
mkdir "$folder/memory" && mount -t tmpfs tmpfs "$folder/memory"
mkdir "$folder"/memory/{upper,work,root}
root=$folder/memory/root
mount -t overlay overlay -o "lowerdir=/,upperdir=$folder/memory/upper,workdir=$folder/memory/work" "$root"
# The layer that is written lies in memory, or nothing goes on.
[ "$(stat -f -c %T "$folder/memory/upper")" = tmpfs ] && [ "$(stat -f -c %T "$root")" = overlayfs ]
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mkdir "$root/run/lock" "$root/run/shared" && mount --bind "$folder/shared" "$root/run/shared"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for device in null zero full random urandom tty; do touch "$root/dev/$device" && mount --bind "/dev/$device" "$root/dev/$device"; done
mkdir "$root/dev/shm" && mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
ln -s /proc/self/fd "$root/dev/fd" && ln -s pts/ptmx "$root/dev/ptmx"
touch "$root/run/shared/console" && ln -s /run/shared/console "$root/dev/console"
mount -t proc proc "$root/proc"
mount --bind "$root/proc/sys" "$root/proc/sys" && mount -o remount,bind,ro "$root/proc/sys"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
ip link set lo up
install -m 755 "$folder/shared/countersign" "$root/usr/local/bin/countersign"
# Units of this machine stay out, but for those of systemd itself; and what is about the kernel.
mount -t tmpfs tmpfs "$root/etc/systemd" && mkdir "$root/etc/systemd/system"
rm -rf "$root/var/log/journal" # in memory: nobody waits for the one on disk
for unit in systemd-modules-load systemd-sysctl systemd-remount-fs; do ln -s /dev/null "$root/etc/systemd/system/$unit.service"; done
cat > "$root/etc/systemd/system/script.service" << 'UNIT'
[Unit]
After=basic.target
[Service]
Type=oneshot
WorkingDirectory=/run/shared
ExecStart=/bin/bash -c 'eval "bash script $(cat arguments)" > output 2>&1; echo $? > status.new; mv status.new status'
UNIT
cd "$root"
mkdir run/old && pivot_root . run/old
exec chroot . /bin/bash -c 'umount -l /run/old && mount --make-rshared / && exec env -i container=other PATH="$PATH" /lib/systemd/systemd --unit=script.service --log-target=console --show-status=no'
