/*
 * What is dropped most, and by which rule?
 *
 * Usage:   opte-trace opte-drops
 * Columns: COUNT: frames; printed at the end.
 * Sample:  dtrace/README
 */
#pragma D option quiet

dtrace:::BEGIN
{
	printf("Tracing... Hit Ctrl-C to end.\n");
}

PROV::drop
{
	@dropped[opte_port[(opte_port_t *)arg0], opte_dir[arg1], opte_layer[arg2],
	    arg3, stringof((char *)arg4)] = count();
}

dtrace:::END
{
	printf("%-12s %-4s %-9s %5s %-24s %8s\n", "PORT", "DIR", "LAYER", "RULE", "REASON", "COUNT");
	printa("%-12s %-4s %-9s %5d %-24s %@8d\n", @dropped);
}
