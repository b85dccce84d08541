#!/bin/busybox sh
# The first process of the virtual machine of `cargo xtask scenario qemu`. What
# it says about itself are lines of `vm NAME VALUE`; the last is `vm done`.
# With the kernel's command line come $peers, addresses, $echo, those of which a
# server on port 5001 sends back what it gets, and how many $bytes that is.
/bin/busybox mkdir -p /proc /sys /dev /etc /tmp
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev

fail() {
	echo "vm failed: $*"
	ip address
	ip route
	ip -6 route
	poweroff -f
}

# Runs a command up to fifty times, for ten seconds.
until_it() {
	for _ in 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5; do
		"$@" && return
		sleep 0.4
	done
	fail "$*"
}

has_address() { ip -6 address show dev eth0 scope link | grep 'inet6 fe80' | grep -qv tentative; }
has_router() { ip -6 route | grep -q '^default via'; }

for module in $(cat /modules/order); do
	insmod "/modules/$module" || fail "$module"
done
ip link set lo up
ip link set eth0 up || fail "no device"

udhcpc -i eth0 -n -q -s /told -O mtu -O staticroutes -O hostname || fail "no lease"
until_it has_router
until_it has_address
udhcpc6 -i eth0 -n -q -s /told || fail "no lease of IPv6"
echo "vm mtu $(cat /sys/class/net/eth0/mtu)"
echo "vm mtu6 $(cat /proc/sys/net/ipv6/conf/eth0/mtu)"
echo "vm uptime $(cut -d ' ' -f 1 /proc/uptime)"

for peer in $peers; do
	ping -c 2 -W 3 "$peer" >/tmp.txt || fail "$peer doesn't answer: $(cat /tmp.txt)"
	echo "vm reached $peer"
done

# There and back, both ways at once.
head -c "$bytes" /dev/urandom >/sent
own=$(md5sum </sent)
for server in $echo; do
	back=$(nc "$server" 5001 </sent | md5sum)
	[ "$back" = "$own" ] || fail "not what was sent to $server"
	echo "vm exchanged $bytes with $server"
done

# From now on it says nothing on the network.
ip link set eth0 down
for count in tx_packets rx_packets tx_errors tx_dropped rx_errors; do
	echo "vm $count $(cat /sys/class/net/eth0/statistics/$count)"
done
echo "vm done"
poweroff -f
