#!/bin/bash
#
# get-dtrace-linux.sh DIR [SUITE]: DTrace for Linux beside the system.
#
# Debian has DTrace in its newest suites only, built against a libc that older
# ones don't have. This unpacks it and all that it depends on into DIR and
# writes DIR/dtrace, which starts it by the dynamic linker that came with it.
# No package of the system is installed, changed or removed; deleting DIR
# deletes it all. What is traced (-c) runs with the system's own libc.
#
# SUITE is forky unless said; DEBIAN_MIRROR may name a mirror.
#
set -euo pipefail

if [ $# -lt 1 ] || [ $# -gt 2 ]; then
	echo "usage: ${0##*/} DIR [SUITE]" >&2
	exit 2
fi
dir=$1
suite=${2:-forky}
for tool in apt-get dpkg-deb cpp; do
	command -v "$tool" > /dev/null || {
		echo "${0##*/}: $tool is missing" >&2
		exit 1
	}
done

# The mirror that this system uses already.
mirror() {
	cat /etc/apt/sources.list.d/debian.sources /etc/apt/sources.list 2> /dev/null |
	    sed -n 's/^URIs: *//p; s/^deb [^h]*\(http[^ ]*\).*/\1/p' | head -n 1
}
from=${DEBIAN_MIRROR:-$(mirror || true)}
from=${from:-http://deb.debian.org/debian}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$dir" "$work"/lists/partial "$work"/archives/partial "$work"/state "$work"/cache
dir=$(cd "$dir" && pwd)
# A package manager of its own, for which nothing is installed yet.
: > "$work/status"
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $from $suite main" \
    > "$work/sources.list"
apt=(apt-get -qq
    -o Dir::Etc::sourcelist="$work/sources.list" -o Dir::Etc::sourceparts=/dev/null
    -o Dir::Etc::preferencesparts=/dev/null
    -o Dir::State="$work/state" -o Dir::State::lists="$work/lists"
    -o Dir::State::status="$work/status"
    -o Dir::Cache="$work/cache" -o Dir::Cache::archives="$work/archives"
    # A frozen mirror's list may have passed its date; it is signed all the same.
    -o Acquire::Check-Valid-Until=false
    -o APT::Install-Recommends=false -o APT::Sandbox::User=root -o Debug::NoLocking=1)
"${apt[@]}" update
"${apt[@]}" install -y --download-only dtrace
for deb in "$work"/archives/*.deb; do
	dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$dir" --keep-directory-symlink
done

lib=$(dirname "$(find "$dir/usr/lib" -name 'libdtrace.so.*' | head -n 1)")
linker=$(find "$lib" "$dir/usr/lib" -maxdepth 1 -name 'ld-linux*.so.*' | head -n 1)
# io.d wants a symbol of the kernel that many kernels don't list, and without
# it no script compiles at all.
rm -f "$lib"/dtrace/*/io.d
# Types of the kernel are thousands, and taking them apart at the end takes its
# library seconds, ten times as long as all else. The process ends anyway; so,
# where there is a compiler, that does nothing.
preload=
if command -v cc > /dev/null; then
	echo 'void ctf_dict_close(void *dict) { (void)dict; }' |
	    cc -x c -O -shared -fPIC -nostdlib -o "$dir/quick-exit.so" - &&
	    preload="--preload $dir/quick-exit.so"
fi
cat > "$dir/dtrace" << END
#!/bin/sh
# DTrace looks for the kernel's events in debugfs and nowhere else.
[ -d /sys/kernel/debug/tracing ] || mount -t debugfs debugfs /sys/kernel/debug
exec $linker $preload --library-path $lib $dir/usr/sbin/dtrace \\
    -xsyslibdir=$lib/dtrace -xcpppath=$(command -v cpp) "\$@"
END
chmod +x "$dir/dtrace"
"$dir/dtrace" -V
