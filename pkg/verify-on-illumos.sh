#!/usr/bin/env bash
# Proves on an illumos machine what can't be proved elsewhere (the table in
# xde/README.md). Run it as root in the global zone, with the module and
# opteadm beside each other:
#
#     verify-on-illumos.sh DIRECTORY [NIC]
#     verify-on-illumos.sh --installed [NIC]
#
# The second form takes what a package has installed, and leaves it there.
# DIRECTORY has `xde` (target/xde/xde) and `opteadm`. NIC is a datalink for the
# underlay; without one an etherstub is made. Everything made here is removed
# again, also when a step fails. Ten minutes; nothing is left loaded.
set -u

dir=${1:?"usage: $0 DIRECTORY|--installed [NIC]"}
installed=
if [ "$dir" = --installed ]; then
	installed=1
	dir=/usr/sbin
fi
nic=${2:-}
made_stub=
setup=$(mktemp)
failed=0

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

clean_up() {
	for vnic in vtest0 vtest1; do
		ipadm delete-if "$vnic" >/dev/null 2>&1
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
	rm -f "$setup" "$setup.out" "$setup.tab"
}

[ "$(uname -s)" = SunOS ] || { say "this is for illumos"; exit 2; }
[ "$(id -u)" -eq 0 ] || { say "run it as root"; exit 2; }
if [ -n "$installed" ] && [ -n "$("$dir/opteadm" list-ports -o name -p)" ]; then
	say "there are ports, whose guests would lose them: run it on a host without"
	exit 2
fi
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
check "its probes are there" sh -c 'dtrace -l -m xde | grep uft-hit'
check "probes have readable functions" sh -c 'dtrace -l -m xde -n sdt:xde:opte_core\*:'
check "its statistics are there" sh -c 'kstat -p xde:0:host:ports'
check "opteadm reads them, too" "$dir/opteadm" stats

# Ports, and packets between two of them.
if [ -z "$nic" ]; then
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
check "an address" ipadm create-addr -t -T static -a 10.77.0.1/24 vtest0/v4
check "the gateway answers" ping 10.77.0.254 2
say "now run, if there are two zones at hand: ping between them over vtest0 and vtest1"
check "flows are there" "$dir/opteadm" dump-uft -p xtest0
check "a bad request is refused" sh -c "! '$dir/opteadm' delete-xde nosuch"
check "the module stays while there are ports" sh -c '! modunload -i $(modinfo | awk "\$6 == \"xde\" {print \$1}")'

# Everything away.
check "addresses go" ipadm delete-if vtest0
check "a VNIC goes" dladm delete-vnic vtest0
check "the other one goes" dladm delete-vnic vtest1
check "a port goes" "$dir/opteadm" delete-xde xtest0
check "the other one goes" "$dir/opteadm" delete-xde xtest1
check "the underlay goes" "$dir/opteadm" clear-xde-underlay
if [ -z "$installed" ]; then
	check "rem_drv: it detaches and is unloaded" rem_drv xde
else
	check "it detaches and is unloaded" \
		sh -c 'modunload -i $(modinfo | awk "\$6 == \"xde\" {print \$1}")'
	check "the service applies a setup of nothing" svcadm enable -s opte
	check "the service stops" svcadm disable -s opte
fi
check "kmem finds no leak (only where kmem_flags is set)" \
	sh -c '[ "$(echo ::findleaks | mdb -k 2>/dev/null | grep -c xde)" -eq 0 ]'

say
if [ "$failed" -eq 0 ]; then
	say "all of it works here"
else
	say "$failed checks failed"
	exit 1
fi
