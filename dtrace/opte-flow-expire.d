/*
 * Which flows end, and why?
 *
 * Usage:   opte-trace opte-flow-expire
 * Columns: PROTO, LOCAL, REMOTE: the flow, as the guest sees it; WHY: idle, closed, evicted, revoked or cleared.
 * Sample:  dtrace/README
 */
#pragma D option quiet

#define HEAD printf("%-12s %-6s %-16s %5s %-16s %5s %-8s %8s %8s %8s %8s\n", "PORT", "PROTO", "LOCAL", "PORT", "REMOTE", "PORT", "WHY", "LIFE-MS", "IDLE-MS", "PKTS-OUT", "PKTS-IN")

dtrace:::BEGIN
{
	HEAD;
	line = 0;
}

PROV::flow-expire
{
	printf("%-12s %-6s %-16s %5d %-16s %5d %-8s %8d %8d %8d %8d\n",
	    opte_port[(opte_port_t *)arg0],
	    opte_proto[((opte_key_t *)arg1)->proto],
	    opte_addr[((opte_key_t *)arg1)->local, ((opte_key_t *)arg1)->family],
	    ((opte_key_t *)arg1)->local_port,
	    opte_addr[((opte_key_t *)arg1)->remote, ((opte_key_t *)arg1)->family],
	    ((opte_key_t *)arg1)->remote_port,
	    opte_why[arg2],
	    ((opte_ending_t *)arg3)->lifetime_ms,
	    ((opte_ending_t *)arg3)->idle_ms,
	    ((opte_ending_t *)arg3)->packets_out,
	    ((opte_ending_t *)arg3)->packets_in);
	line++;
}

PROV::flow-expire
/line >= 20/
{
	HEAD;
	line = 0;
}
