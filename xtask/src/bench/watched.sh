# What a driver carries between two guests of one host while it is watched by a
# script ($3), and while it isn't, by turns: lines of `on` or `off` and Mbit/s.
# $1 is xded, $2 opte-trace. Run in network and mount namespaces of its own.
set -e
xded=$1 opte_trace=$2 script=$3 rounds=$4
work=$(mktemp -d)
cd "$work"
mount --make-rprivate /
ip link add net0 mtu 9000 type veth peer name net1
ip link set net1 mtu 9000 up
ip link set net0 up
port() {
	cat <<END
[[v2p]]
vni = 1
address = "10.0.0.$1"
mac = "A8:40:25:F0:00:0$1"
sled = "fd00:99::a"
[[port]]
name = "g$1"
mac = "A8:40:25:F0:00:0$1"
vni = 1
ipv4 = { address = "10.0.0.$1", gateway = "10.0.0.254" }
rules = ["dir=in priority=1 action=allow"]
routes = ["10.0.0.0/24 sub4=10.0.0.0/24 system"]
END
}
{
	printf '[underlay]\naddress = "fd00:99::a"\nlink = [{ name = "net0" }]\n'
	port 1
	port 2
} >setup.toml
: >xded.log
"$xded" run --setup setup.toml --socket xded.sock >>xded.log 2>&1 &
driver=$!
trap 'kill $driver $g1 $g2; rm -rf "$work"' EXIT
until grep -q ready xded.log; do sleep 0.05; done

guest() {
	unshare -n sleep 600 &
	eval "g$1=$!"
	until [ "$(readlink /proc/$!/ns/net)" != "$(readlink /proc/$$/ns/net)" ]; do sleep 0.01; done
	ip link set "g$1" netns $!
	inside="nsenter -n -t $!"
	$inside ip link set "g$1" up
	$inside ip address add "10.0.0.$1/32" dev "g$1"
	$inside ip route add 10.0.0.254 dev "g$1"
	$inside ip route add default via 10.0.0.254
}
guest 1
guest 2
nsenter -n -t "$g2" iperf3 --server --port 5001 >server.log 2>&1 &
until grep -q listening server.log 2>/dev/null; do
	nsenter -n -t "$g2" grep -q ':1389 ' /proc/net/tcp6 && break
	sleep 0.05
done

round() {
	: >trace.log
	if [ "$1" = on ]; then
		# What runs beside a shell ignores SIGINT unless it is told.
		env --default-signal=INT "$opte_trace" -p $driver "$script" >>trace.log 2>&1 &
		tracer=$!
		until [ -s trace.log ]; do sleep 0.1; done
		sleep 0.5
	fi
	nsenter -n -t "$g1" iperf3 --client 10.0.0.2 --port 5001 --time 2 --omit 1 --json >run.json
	bits=$(sed -n '/"sum_received"/,/}/s/.*"bits_per_second":[^0-9]*\([0-9]*\).*/\1/p' run.json)
	echo "$1 $((bits / 1000000))"
	if [ "$1" = on ]; then
		kill -INT $tracer
		wait $tracer || true
		grep -q hit trace.log || { echo "it saw nothing: $(cat trace.log)" >&2; exit 1; }
	fi
}
for _ in $(seq "$rounds"); do
	round off
	round on
done
