/*
 * How long does each layer take for a new flow?
 *
 * Usage:   opte-trace opte-perf-layer
 * Columns: nanoseconds; printed at the end.
 * Sample:  dtrace/README
 */
#pragma D option quiet

dtrace:::BEGIN
{
	printf("Tracing... Hit Ctrl-C to end.\n");
}

PROV::layer-process-entry
{
	self->start = timestamp;
}

PROV::layer-process-return
/self->start/
{
	@layer_ns[opte_layer[arg1], opte_dir[arg2]] = quantize(timestamp - self->start);
	self->start = 0;
}

dtrace:::END
{
	printa("layer %s, %s: nanoseconds%@d\n", @layer_ns);
}
