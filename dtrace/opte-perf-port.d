/*
 * How long does a port take for a frame, by direction and path?
 *
 * Usage:   opte-trace opte-perf-port
 * Columns: nanoseconds; printed at the end. OPTE adds up what frames take and
 *          tells it ten times a second, so this hardly slows it down.
 * Sample:  dtrace/README
 */
#pragma D option quiet

dtrace:::BEGIN
{
	printf("Tracing... Hit Ctrl-C to end.\n");
}

PROV::port-latency
{
	@port_ns[opte_port[(opte_port_t *)arg0], opte_dir[arg1], opte_path[arg2]] =
	    quantize(arg3, arg4);
}

dtrace:::END
{
	printa("port %s, %s, %s: nanoseconds%@d\n", @port_ns);
}
