# Gives QEMU a way to the device of the guest g1, and prints what QEMU is told:
# by a macvtap device on top of it or, where this user doesn't get that one's
# node, by a TAP device and a bridge. docs/how-to/qemu-guest.md has both.
mount -t sysfs -o ro sysfs /sys

# The host's own stack stays out of it.
for every in all default; do
	echo 1 >/proc/sys/net/ipv6/conf/$every/disable_ipv6
done

# Whether a node is of the device that a file names: another namespace may have
# a device of the same number, and the node.
is_of() {
	[ "$(cat "$2")" = "$((0x$(stat -c %t "$1"))):$((0x$(stat -c %T "$1")))" ]
}

by_macvtap() {
	ip link add link g1 name mv1 type macvtap mode passthru || return
	ip link set mv1 up
	number=$(cat /sys/class/net/mv1/ifindex)
	node=/dev/tap$number
	if [ -c "$node" ] && is_of "$node" "/sys/class/net/mv1/tap$number/dev" &&
		(: 3<>"$node"); then
		echo "use fd=3 3<>$node"
	else
		ip link delete mv1
		false
	fi
}

# A bridge takes frames to its ports' own addresses for itself, so g1's has to
# be another than the machine's.
by_bridge() {
	ip link set g1 address 02:00:00:00:00:01
	ip link add br0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0
	ip tuntap add dev vm mode tap
	ip link set g1 master br0
	ip link set vm master br0
	ip link set vm up
	ip link set br0 up
	echo "use ifname=vm,script=no,downscript=no"
}

by_macvtap || by_bridge
