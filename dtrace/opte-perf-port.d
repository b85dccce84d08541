/*
 * How long does a port take for a frame, by direction and path?
 *
 * Usage:   opte-trace opte-perf-port
 * Columns: nanoseconds; printed at the end.
 * Sample:  dtrace/README
 */
#pragma D option quiet

dtrace:::BEGIN
{
	printf("Tracing... Hit Ctrl-C to end.\n");
}

PROV::port-process-entry
{
	self->start = timestamp;
}

PROV::port-process-return
/self->start/
{
	@port_ns[opte_port[(opte_port_t *)arg0], opte_dir[arg1], opte_path[arg4]] =
	    quantize(timestamp - self->start);
	self->start = 0;
}

dtrace:::END
{
	printa("port %s, %s, %s: nanoseconds%@d\n", @port_ns);
}
