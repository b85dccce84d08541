/*
 * How often does what happen?
 *
 * Usage:   opte-trace opte-count
 * Columns: COUNT: events; printed at the end.
 * Sample:  dtrace/README
 */
#pragma D option quiet

dtrace:::BEGIN
{
	printf("Tracing... Hit Ctrl-C to end.\n");
}

PROV::port-process-entry,
PROV::uft-hit,
PROV::uft-invalidate,
PROV::rule-match,
PROV::rule-deny,
PROV::rule-no-match,
PROV::drop,
PROV::bad-packet,
PROV::guest-loopback,
PROV::tcp-flow-state,
PROV::tcp-flow-drop,
PROV::flow-expire,
PROV::nat-alloc,
PROV::nat-free,
PROV::nat-exhausted,
PROV::ht-run,
PROV::next-hop,
PROV::config-change,
PROV::ioctl-entry
{
	@events[probename] = count();
}

dtrace:::END
{
	printf("%-24s %10s\n", "EVENT", "COUNT");
	printa("%-24s %@10d\n", @events);
}
