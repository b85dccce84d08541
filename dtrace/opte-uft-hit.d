/*
 * Which flows are served from the cache?
 *
 * Usage:   opte-trace opte-uft-hit
 * Columns: PROTO, LOCAL, REMOTE: the flow, as the guest sees it.
 * Sample:  dtrace/README
 */
#pragma D option quiet

#define HEAD printf("%-12s %-4s %-6s %-22s %-22s\n", "PORT", "DIR", "PROTO", "LOCAL", "REMOTE")

dtrace:::BEGIN
{
	HEAD;
	line = 0;
}

PROV::uft-hit
{
	printf("%-12s %-4s %-6s %-22s %-22s\n",
	    opte_port[(opte_port_t *)arg0],
	    opte_dir[arg1],
	    opte_proto[((opte_key_t *)arg2)->proto],
	    opte_local[(opte_key_t *)arg2],
	    opte_remote[(opte_key_t *)arg2]);
	line++;
}

PROV::uft-hit
/line >= 20/
{
	HEAD;
	line = 0;
}
