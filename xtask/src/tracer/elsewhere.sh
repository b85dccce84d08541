# Records what guests g1 and g2 say to each other through a router that is
# Linux's, by tcpdump: tx-g1.pcap and tx-g2.pcap in the folder $1. Neither xded
# nor anything else of ours is there. Run in a network namespace of its own.
set -e
cd "$1"
echo 1 >/proc/sys/net/ipv4/ip_forward
echo 1 >/proc/sys/net/ipv6/conf/all/forwarding
echo 0 >/proc/sys/net/ipv4/conf/all/send_redirects

# A guest with its address of both families, whose only neighbour is the router.
guest() {
	unshare -n sleep 600 &
	eval "$1=$!"
	ip link add "r$1" address a8:40:25:ff:77:77 type veth peer name "$1"
	echo 0 >/proc/sys/net/ipv6/conf/r$1/accept_dad
	until [ "$(readlink /proc/$!/ns/net)" != "$(readlink /proc/$$/ns/net)" ]; do sleep 0.01; done
	ip link set "$1" netns $!
	ip link set "r$1" up
	ip address add 10.0.0.254/32 dev "r$1"
	ip address add fd77::ff/128 dev "r$1" nodad
	ip route add "10.0.0.$2/32" dev "r$1"
	ip route add "fd77::$2/128" dev "r$1"
	: >"$1.log"
	tcpdump -Z root -i "r$1" -Q in -U --immediate-mode -w "tx-$1.pcap" 2>"$1.log" &
	dumps="$dumps $!"
	until grep -q listening "$1.log"; do sleep 0.01; done
	inside="nsenter -n -t $(eval "echo \$$1")"
	# Segments as they are on a wire.
	$inside ip link set "$1" address "a8:40:25:f0:00:0$2" gso_max_segs 1 up
	$inside ip address add "10.0.0.$2/32" dev "$1"
	$inside ip address add "fd77::$2/128" dev "$1" nodad
	$inside ip route add 10.0.0.254 dev "$1"
	$inside ip route add default via 10.0.0.254
	$inside ip route add fd77::ff dev "$1"
	$inside ip route add default via fd77::ff
}
guest g1 1
guest g2 2
trap 'kill $g1 $g2' EXIT

nsenter -n -t "$g2" socat -t 60 TCP6-LISTEN:5001,fork,reuseaddr EXEC:cat &
server=$!
until nsenter -n -t "$g2" grep -q ':1389 ' /proc/net/tcp6; do sleep 0.01; done
for address in 10.0.0.2 fd77::2; do
	nsenter -n -t "$g1" ping -c 3 -i 0.2 -W 2 "$address"
done
for address in TCP4:10.0.0.2 'TCP6:[fd77::2]'; do
	head -c 20000 /dev/zero | nsenter -n -t "$g1" socat -t 60 - "$address:5001" | wc -c
done
kill $server $dumps
wait $dumps || true
