#!/bin/sh
# Boots systemd as the first process of namespaces that were made for it, with
# the tree $1 as its root.
set -e
cd "$1"
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
# What udev would make, less what belongs to this machine. The TUN device is
# everybody's, since the capability counts.
mount -t tmpfs -o mode=0755 tmpfs dev
mkdir dev/net dev/pts dev/shm
while read -r name major minor; do
	mknod -m 0666 "dev/$name" c "$major" "$minor"
done <<-END
	null 1 3
	zero 1 5
	full 1 7
	random 1 8
	urandom 1 9
	tty 5 0
	net/tun 10 200
END
pivot_root . mnt
umount -l /mnt
exec env -i container=trial PATH=/usr/sbin:/usr/bin \
    /lib/systemd/systemd --system --unit=basic.target --show-status=false
