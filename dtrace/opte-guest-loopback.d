/*
 * Which guests of this host talk to each other?
 *
 * Usage:   opte-trace opte-guest-loopback
 * Columns: FROM and TO: ports; PROTO, LOCAL, REMOTE: the flow, as the guest sees it.
 * Sample:  dtrace/README
 */
#pragma D option quiet

#define HEAD printf("%-12s %-12s %-6s %-16s %5s %-16s %5s\n", "FROM", "TO", "PROTO", "LOCAL", "PORT", "REMOTE", "PORT")

dtrace:::BEGIN
{
	HEAD;
	line = 0;
}

PROV::guest-loopback
{
	printf("%-12s %-12s %-6s %-16s %5d %-16s %5d\n",
	    opte_port[(opte_port_t *)arg0],
	    opte_port[(opte_port_t *)arg1],
	    opte_proto[((opte_key_t *)arg2)->proto],
	    opte_addr[((opte_key_t *)arg2)->local, ((opte_key_t *)arg2)->family],
	    ((opte_key_t *)arg2)->local_port,
	    opte_addr[((opte_key_t *)arg2)->remote, ((opte_key_t *)arg2)->family],
	    ((opte_key_t *)arg2)->remote_port);
	line++;
}

PROV::guest-loopback
/line >= 20/
{
	HEAD;
	line = 0;
}
