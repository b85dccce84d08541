#!/bin/sh
# What the virtual machine's DHCP clients of both families tell: $1 is the
# event, and the environment has the lease.
case $1 in
bound | renew) ;;
*) exit 0 ;;
esac
if [ -n "$ipv6" ]; then
	echo "vm leased6 $ipv6"
	exec ip -6 address add "$ipv6/128" dev "$interface"
fi
echo "vm leased $ip of $serverid, host name $hostname"
ip address add "$ip/$mask" dev "$interface"
[ -z "$mtu" ] || ip link set "$interface" mtu "$mtu"
# Destinations and gateways by turns (RFC 3442).
set -- $staticroutes
while [ $# -gt 1 ]; do
	case $2 in
	0.0.0.0) ip route add "$1" dev "$interface" ;;
	*) ip route add "$1" via "$2" dev "$interface" ;;
	esac
	shift 2
done
