/*
 * How long did flows live, what did they carry and how did they end?
 *
 * Usage:   opte-trace opte-flowlife
 * Columns: PROTO, LOCAL, REMOTE: the flow, as the guest sees it; MS: how long it lived.
 * Sample:  dtrace/README
 */
#pragma D option quiet

#define HEAD printf("%-12s %-6s %-16s %5s %-16s %5s %8s %8s %8s %9s %9s %s\n", "PORT", "PROTO", "LOCAL", "PORT", "REMOTE", "PORT", "MS", "PKTS-OUT", "PKTS-IN", "BYTES-OUT", "BYTES-IN", "END")

dtrace:::BEGIN
{
	HEAD;
	line = 0;
}

PROV::flow-expire
{
	printf("%-12s %-6s %-16s %5d %-16s %5d %8d %8d %8d %9d %9d %s\n",
	    opte_port[(opte_port_t *)arg0],
	    opte_proto[((opte_key_t *)arg1)->proto],
	    opte_addr[((opte_key_t *)arg1)->local, ((opte_key_t *)arg1)->family],
	    ((opte_key_t *)arg1)->local_port,
	    opte_addr[((opte_key_t *)arg1)->remote, ((opte_key_t *)arg1)->family],
	    ((opte_key_t *)arg1)->remote_port,
	    ((opte_ending_t *)arg3)->lifetime_ms,
	    ((opte_ending_t *)arg3)->packets_out,
	    ((opte_ending_t *)arg3)->packets_in,
	    ((opte_ending_t *)arg3)->bytes_out,
	    ((opte_ending_t *)arg3)->bytes_in,
	    opte_why[arg2]);
	line++;
}

PROV::flow-expire
/line >= 20/
{
	HEAD;
	line = 0;
}
