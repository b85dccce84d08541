/*
 * Which cached decisions are thrown away, and what changed?
 *
 * Usage:   opte-trace opte-uft-invalidate
 * Columns: PROTO, LOCAL, REMOTE: the flow, as the guest sees it; CAUSE: policy, mapping, underlay, idle or tcp-closed.
 * Sample:  dtrace/README
 */
#pragma D option quiet

#define HEAD printf("%-12s %-4s %-6s %-22s %-22s %s\n", "PORT", "DIR", "PROTO", "LOCAL", "REMOTE", "CAUSE")

dtrace:::BEGIN
{
	HEAD;
	line = 0;
}

PROV::uft-invalidate
{
	printf("%-12s %-4s %-6s %-22s %-22s %s\n",
	    opte_port[(opte_port_t *)arg0],
	    opte_dir[arg1],
	    opte_proto[((opte_key_t *)arg2)->proto],
	    opte_local[(opte_key_t *)arg2],
	    opte_remote[(opte_key_t *)arg2],
	    opte_stale[arg3]);
	line++;
}

PROV::uft-tcp-closed
{
	printf("%-12s %-4s %-6s %-22s %-22s %s\n",
	    opte_port[(opte_port_t *)arg0],
	    opte_dir[arg1],
	    opte_proto[((opte_key_t *)arg2)->proto],
	    opte_local[(opte_key_t *)arg2],
	    opte_remote[(opte_key_t *)arg2],
	    "tcp-closed");
	line++;
}

PROV::uft-invalidate,
PROV::uft-tcp-closed
/line >= 20/
{
	HEAD;
	line = 0;
}
