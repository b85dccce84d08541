#!/usr/bin/env bash
# Proves on an illumos machine most of what can't be proved elsewhere (the table
# in xde/README.md says what isn't here). Run it as root in the global zone, with
# the module and opteadm beside each other:
#
#     verify-on-illumos.sh DIRECTORY [NIC|- [ZONE ZONE]]
#     verify-on-illumos.sh --installed [NIC|- [ZONE ZONE]]
#
# The second form takes what a package has installed, and leaves it there.
# DIRECTORY has `xde` (target/xde/xde) and `opteadm`. NIC is a datalink for the
# underlay; without one, or with -, an etherstub is made. Each ZONE is one that
# runs and has an IP stack of its own (ip-type=exclusive): a guest's VNIC is lent
# to each of them, and they ping each other. One stack would answer itself, so
# without zones that is skipped, and a packet is seen going one way only.
# Everything made here is removed again, also when a step fails. Ten minutes;
# nothing is left loaded.
set -u

dir=${1:?"usage: $0 DIRECTORY|--installed [NIC|- [ZONE ZONE]]"}
installed=
if [ "$dir" = --installed ]; then
	installed=1
	dir=/usr/sbin
fi
nic=${2:--}
zone0=${3:-}
zone1=${4:-}
made_stub=
setup=$(mktemp)
failed=0
skipped=0

say() { printf '%s\n' "$*"; }

# check WORDS COMMAND..: runs it and says what became of it.
check() {
	local words=$1
	shift
	if "$@" >"$setup.out" 2>&1; then
		say "ok      $words"
	else
		say "FAILED  $words"
		sed 's/^/        /' "$setup.out"
		failed=$((failed + 1))
	fi
}

# skip WORDS WHY: what can't be found out here.
skip() {
	say "skipped $1: $2"
	skipped=$((skipped + 1))
}

# in_zone ZONE COMMAND..: runs it there, or here if ZONE is empty.
in_zone() {
	local zone=$1
	shift
	if [ -n "$zone" ]; then
		zlogin "$zone" "$@"
	else
		"$@"
	fi
}

# seen_by VNIC PEER COMMAND..: whether VNIC gets a ping that COMMAND sends to PEER.
seen_by() {
	local vnic=$1 peer=$2 watcher left
	shift 2
	snoop -r -c 1 -d "$vnic" icmp and dst "$peer" >"$setup.snoop" 2>&1 &
	watcher=$!
	sleep 2
	# Nobody has the address there, so no answer comes.
	"$@" >/dev/null 2>&1
	for left in 5 4 3 2 1; do
		if ! kill -0 "$watcher" 2>/dev/null; then
			break
		fi
		echo "waiting, $left s"
		sleep 1
	done
	kill "$watcher" 2>/dev/null
	wait "$watcher" 2>/dev/null
	cat "$setup.snoop"
	grep -q "ICMP Echo request" "$setup.snoop"
}

# has_counted PORT COUNTER: whether it has moved.
has_counted() {
	local count
	count=$(kstat -p "xde:0:$1:$2" | awk '{print $2}')
	echo "$2 of $1: ${count:-not there}"
	[ "${count:-0}" -gt 0 ]
}

# unload: asks the kernel to let the module go.
unload() {
	modunload -i "$(modinfo | awk '$6 == "xde" {print $1}')"
}

stays_loaded() {
	! unload && modinfo | grep -w xde
}

# no_leaks: whether somebody knows each of the module's allocations still.
no_leaks() {
	local found
	found=$(echo ::findleaks | mdb -k 2>&1)
	printf '%s\n' "$found"
	[ -n "$found" ] && ! printf '%s\n' "$found" | grep -qw xde
}

# give_back ZONE VNIC: takes a guest's VNIC away from its zone, and its address.
give_back() {
	local failed=0
	in_zone "$1" ipadm delete-if "$2" || failed=1
	if [ -n "$1" ]; then
		dladm reset-linkprop -t -p zone "$2" || failed=1
	fi
	return "$failed"
}

clean_up() {
	give_back "$zone0" vtest0 >/dev/null 2>&1
	give_back "$zone1" vtest1 >/dev/null 2>&1
	for vnic in vtest0 vtest1; do
		dladm delete-vnic "$vnic" >/dev/null 2>&1
	done
	"$dir/opteadm" delete-xde xtest0 >/dev/null 2>&1
	"$dir/opteadm" delete-xde xtest1 >/dev/null 2>&1
	"$dir/opteadm" clear-xde-underlay >/dev/null 2>&1
	if [ -z "$installed" ]; then
		rem_drv xde >/dev/null 2>&1
		rm -f /kernel/drv/amd64/xde /kernel/drv/xde.conf
		sed '/name=xde;/d' /etc/devlink.tab >"$setup.tab" && cp "$setup.tab" /etc/devlink.tab
	fi
	[ -n "$made_stub" ] && dladm delete-vnic xnic0 >/dev/null 2>&1
	[ -n "$made_stub" ] && dladm delete-etherstub "$made_stub" >/dev/null 2>&1
	rm -f "$setup" "$setup.out" "$setup.tab" "$setup.snoop"
}

[ "$(uname -s)" = SunOS ] || { say "this is for illumos"; exit 2; }
[ "$(id -u)" -eq 0 ] || { say "run it as root"; exit 2; }
if [ -n "$installed" ] && [ -n "$("$dir/opteadm" list-ports -o name -p)" ]; then
	say "there are ports, whose guests would lose them: run it on a host without"
	exit 2
fi
if [ -n "$zone0" ] && [ -z "$zone1" ]; then
	say "two zones are needed, or none"
	exit 2
fi
for zone in $zone0 $zone1; do
	if ! zoneadm -z "$zone" list -p | grep -Eq ':running:.*:excl(:|$)'; then
		say "$zone isn't a zone that runs with an IP stack of its own"
		exit 2
	fi
done
trap clean_up EXIT
say "on $(uname -v)"

# Load.
if [ -z "$installed" ]; then
	cp "$dir/xde" /kernel/drv/amd64/xde && chmod 755 /kernel/drv/amd64/xde
	say 'name="xde" parent="pseudo" instance=0;' >/kernel/drv/xde.conf
	printf 'type=ddi_pseudo;name=xde;minor=ctl\t\\D\n' >>/etc/devlink.tab
	check "add_drv: krtld takes the module and it attaches" add_drv -m 'ctl 0600 root sys' xde
	check "devfsadm makes /dev/xde" devfsadm -i xde
else
	check "the package is as it was packed" pkg verify driver/network/opte
fi
check "the module is loaded" sh -c 'modinfo | grep -w xde'
check "nothing is said to be defined twice" \
	sh -c '! tail -100 /var/adm/messages | grep "xde.*multiply defined"'
check "opteadm reaches it" "$dir/opteadm" version
# Each has one site, in a function of its name (docs/probes.md has them all).
for probe in port-process-entry port-process-return drop bad-packet rule-match rule-deny uft-hit \
	flow-expire guest-loopback tcp-flow-state next-hop ioctl-entry config-change; do
	check "the probe $probe is there" dtrace -l -n "sdt:xde::$probe"
done
check "functions have readable names" dtrace -l -n 'fbt:xde:opte_core.host.Host.*:entry'
check "its statistics are there" sh -c 'kstat -p xde:0:host:ports'
check "opteadm reads them, too" "$dir/opteadm" stats

# Ports, and packets between two of them.
if [ "$nic" = - ]; then
	made_stub=xstub0
	check "an etherstub" dladm create-etherstub -t "$made_stub"
	check "a NIC on it" dladm create-vnic -t -l "$made_stub" xnic0
	nic=xnic0
fi
cat >"$setup" <<END
[underlay]
address = "fd00:7e57::1"
link = [{ name = "$nic", mtu = 1500 }]

[[port]]
name = "xtest0"
mac = "A8:40:25:F7:00:01"
vni = 7
mtu = 1400
ipv4 = { address = "10.77.0.1", gateway = "10.77.0.254" }
rules = ["dir=in priority=1 action=allow"]
routes = ["10.77.0.0/24 sub4=10.77.0.0/24 system"]

[[port]]
name = "xtest1"
mac = "A8:40:25:F7:00:02"
vni = 7
mtu = 1400
ipv4 = { address = "10.77.0.2", gateway = "10.77.0.254" }
rules = ["dir=in priority=1 action=allow"]
routes = ["10.77.0.0/24 sub4=10.77.0.0/24 system"]

[[v2p]]
vni = 7
address = "10.77.0.1"
mac = "A8:40:25:F7:00:01"
sled = "fd00:7e57::1"

[[v2p]]
vni = 7
address = "10.77.0.2"
mac = "A8:40:25:F7:00:02"
sled = "fd00:7e57::1"
END
check "a setup is applied" "$dir/opteadm" apply "$setup"
check "its ports are datalinks" dladm show-link xtest0
check "a guest's VNIC on a port" dladm create-vnic -t -l xtest0 -m a8:40:25:f7:00:01 vtest0
check "another one's" dladm create-vnic -t -l xtest1 -m a8:40:25:f7:00:02 vtest1
check "a port in use isn't deleted" sh -c "! '$dir/opteadm' delete-xde xtest0"
if [ -n "$zone0" ]; then
	check "the one's zone gets it" dladm set-linkprop -t -p "zone=$zone0" vtest0
	check "the other one's, too" dladm set-linkprop -t -p "zone=$zone1" vtest1
fi
check "an address" in_zone "$zone0" ipadm create-addr -t -T static -a 10.77.0.1/24 vtest0/v4
check "the gateway answers" in_zone "$zone0" ping 10.77.0.254 2
if [ -n "$zone0" ]; then
	check "the other one's address" \
		in_zone "$zone1" ipadm create-addr -t -T static -a 10.77.0.2/24 vtest1/v4
	check "the gateway answers there" in_zone "$zone1" ping 10.77.0.254 2
	check "a zone answers the other" in_zone "$zone0" ping 10.77.0.2 5
	check "and the other way round" in_zone "$zone1" ping 10.77.0.1 5
	check "large packets pass as well" in_zone "$zone0" ping -s 10.77.0.2 1300 3
else
	check "a packet of one port reaches the other's VNIC" \
		seen_by vtest1 10.77.0.2 ping 10.77.0.2 2
	skip "ping between two guests" "name two zones for it"
fi
check "the other port counts it" has_counted xtest1 in_packets
check "flows are there" "$dir/opteadm" dump-uft -p xtest0
check "a bad request is refused" sh -c "! '$dir/opteadm' delete-xde nosuch"
check "the module stays while there are ports" stays_loaded

# Everything away.
check "addresses go" give_back "$zone0" vtest0
[ -n "$zone1" ] && check "those of the other zone, too" give_back "$zone1" vtest1
check "a VNIC goes" dladm delete-vnic vtest0
check "the other one goes" dladm delete-vnic vtest1
check "a port goes" "$dir/opteadm" delete-xde xtest0
check "the other one goes" "$dir/opteadm" delete-xde xtest1
check "the underlay goes" "$dir/opteadm" clear-xde-underlay
# While it is loaded: later nothing says whose an allocation was. What attaching
# and detaching might leave isn't seen so.
case "$(echo 'kmem_flags/X' | mdb -k 2>/dev/null | awk 'NR == 2 {print $2}')" in
'' | 0) skip "leaks" "kmem_flags isn't set in /etc/system, or mdb says nothing" ;;
*) check "kmem finds no leak of the module" no_leaks ;;
esac
if [ -z "$installed" ]; then
	check "rem_drv: it detaches and is unloaded" rem_drv xde
else
	check "it detaches and is unloaded" unload
	check "the service applies a setup of nothing" svcadm enable -s opte
	check "the service stops" svcadm disable -s opte
fi
say
if [ "$failed" -eq 0 ]; then
	say "all of it works here; $skipped checks were skipped"
else
	say "$failed checks failed"
	exit 1
fi
