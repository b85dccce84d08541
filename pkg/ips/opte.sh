#!/bin/sh
#
# Applies the setup: at boot, and when the service is refreshed. A setup that
# is refused changes nothing, and the service needs maintenance.
#
. /lib/svc/share/smf_include.sh

setup=/etc/opte/setup.toml

case $1 in
start|refresh)
	# A file of comments describes no host: what is there stays.
	if ! grep -v '^[[:space:]]*#' $setup 2> /dev/null | grep '[^[:space:]]' > /dev/null; then
		echo "$setup describes nothing"
		exit $SMF_EXIT_OK
	fi
	/usr/sbin/opteadm apply $setup || exit $SMF_EXIT_ERR_CONFIG
	;;
*)
	echo "usage: $0 start|refresh" >&2
	exit $SMF_EXIT_ERR_FATAL
	;;
esac
exit $SMF_EXIT_OK
