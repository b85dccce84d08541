/*
 * Which guests of this host talk to each other?
 *
 * Usage:   opte-trace opte-guest-loopback
 * Columns: FROM and TO: ports; PROTO, LOCAL, REMOTE: the flow, as the guest sees it.
 * Sample:  dtrace/README
 */
#pragma D option quiet

#define HEAD printf("%-12s %-12s %-6s %-22s %-22s\n", "FROM", "TO", "PROTO", "LOCAL", "REMOTE")

dtrace:::BEGIN
{
	HEAD;
	line = 0;
}

PROV::guest-loopback
{
	printf("%-12s %-12s %-6s %-22s %-22s\n",
	    opte_port[(opte_port_t *)arg0],
	    opte_port[(opte_port_t *)arg1],
	    opte_proto[((opte_key_t *)arg2)->proto],
	    opte_local[(opte_key_t *)arg2],
	    opte_remote[(opte_key_t *)arg2]);
	line++;
}

PROV::guest-loopback
/line >= 20/
{
	HEAD;
	line = 0;
}
