/*
 * How long did flows live, what did they carry and how did they end?
 *
 * Usage:   opte-trace opte-flowlife
 * Columns: PROTO, LOCAL, REMOTE: the flow, as the guest sees it; MS: how long it lived.
 * Sample:  dtrace/README
 */
#pragma D option quiet

#define HEAD printf("%-12s %-6s %-22s %-22s %8s %8s %8s %9s %9s %s\n", "PORT", "PROTO", "LOCAL", "REMOTE", "MS", "PKTS-OUT", "PKTS-IN", "BYTES-OUT", "BYTES-IN", "END")

dtrace:::BEGIN
{
	HEAD;
	line = 0;
}

PROV::flow-expire
{
	printf("%-12s %-6s %-22s %-22s %8s %8s %8s %9s %9s %s\n",
	    opte_port[(opte_port_t *)arg0],
	    opte_proto[((opte_key_t *)arg1)->proto],
	    opte_local[(opte_key_t *)arg1],
	    opte_remote[(opte_key_t *)arg1],
	    lltostr(((opte_ending_t *)arg3)->lifetime_ms),
	    lltostr(((opte_ending_t *)arg3)->packets_out),
	    lltostr(((opte_ending_t *)arg3)->packets_in),
	    lltostr(((opte_ending_t *)arg3)->bytes_out),
	    lltostr(((opte_ending_t *)arg3)->bytes_in),
	    opte_why[arg2]);
	line++;
}

PROV::flow-expire
/line >= 20/
{
	HEAD;
	line = 0;
}
