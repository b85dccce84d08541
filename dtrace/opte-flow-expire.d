/*
 * Which flows end, and why?
 *
 * Usage:   opte-trace opte-flow-expire
 * Columns: PROTO, LOCAL, REMOTE: the flow, as the guest sees it; WHY: idle, closed, evicted, revoked or cleared.
 * Sample:  dtrace/README
 */
#pragma D option quiet

#define HEAD printf("%-12s %-6s %-22s %-22s %-8s %8s %8s %8s %8s\n", "PORT", "PROTO", "LOCAL", "REMOTE", "WHY", "LIFE-MS", "IDLE-MS", "PKTS-OUT", "PKTS-IN")

dtrace:::BEGIN
{
	HEAD;
	line = 0;
}

PROV::flow-expire
{
	printf("%-12s %-6s %-22s %-22s %-8s %8s %8s %8s %8s\n",
	    opte_port[(opte_port_t *)arg0],
	    opte_proto[((opte_key_t *)arg1)->proto],
	    opte_local[(opte_key_t *)arg1],
	    opte_remote[(opte_key_t *)arg1],
	    opte_why[arg2],
	    lltostr(((opte_ending_t *)arg3)->lifetime_ms),
	    lltostr(((opte_ending_t *)arg3)->idle_ms),
	    lltostr(((opte_ending_t *)arg3)->packets_out),
	    lltostr(((opte_ending_t *)arg3)->packets_in));
	line++;
}

PROV::flow-expire
/line >= 20/
{
	HEAD;
	line = 0;
}
