/*
 * What do ports do, second by second?
 *
 * Usage:   opte-trace opte-info
 * Columns: FRAMES, BYTES that came to the port in this second, and what became of them.
 * Sample:  dtrace/README
 */
#pragma D option quiet

dtrace:::BEGIN
{
	printf("Tracing... Hit Ctrl-C to end.\n");
}

PROV::port-process-entry
{
	@frames[opte_port[(opte_port_t *)arg0]] = count();
	@bytes[opte_port[(opte_port_t *)arg0]] = sum(arg2);
	@hits[opte_port[(opte_port_t *)arg0]] = sum(0);
	@misses[opte_port[(opte_port_t *)arg0]] = sum(0);
	@drops[opte_port[(opte_port_t *)arg0]] = sum(0);
}

PROV::port-process-return
{
	@hits[opte_port[(opte_port_t *)arg0]] = sum(arg4 == 1);
	@misses[opte_port[(opte_port_t *)arg0]] = sum(arg4 == 2);
	@drops[opte_port[(opte_port_t *)arg0]] = sum(arg5 != 0);
}

tick-1s,
dtrace:::END
{
	printf("%-16s %10s %12s %10s %10s %10s\n", "PORT", "FRAMES", "BYTES", "HITS", "MISSES", "DROPS");
	printa("%-16s %@10d %@12d %@10d %@10d %@10d\n", @frames, @bytes, @hits, @misses, @drops);
	clear(@frames);
	clear(@bytes);
	clear(@hits);
	clear(@misses);
	clear(@drops);
}
