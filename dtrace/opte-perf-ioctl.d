/*
 * How long do commands take?
 *
 * Usage:   opte-trace opte-perf-ioctl
 * Columns: nanoseconds; printed at the end.
 * Sample:  dtrace/README
 */
#pragma D option quiet

dtrace:::BEGIN
{
	printf("Tracing... Hit Ctrl-C to end.\n");
}

PROV::ioctl-entry
{
	self->start = timestamp;
}

PROV::ioctl-return
/self->start/
{
	@command_ns[opte_text[arg1]] = quantize(timestamp - self->start);
	self->start = 0;
}

dtrace:::END
{
	printa("command %s: nanoseconds%@d\n", @command_ns);
}
