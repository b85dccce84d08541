/*
 * Which cached decisions are thrown away, and what changed?
 *
 * Usage:   opte-trace opte-uft-invalidate
 * Columns: PROTO, LOCAL, REMOTE: the flow, as the guest sees it; CAUSE: policy, mapping, underlay, idle or tcp-closed.
 * Sample:  dtrace/README
 */
#pragma D option quiet

#define HEAD printf("%-12s %-4s %-6s %-16s %5s %-16s %5s %s\n", "PORT", "DIR", "PROTO", "LOCAL", "PORT", "REMOTE", "PORT", "CAUSE")

dtrace:::BEGIN
{
	HEAD;
	line = 0;
}

PROV::uft-invalidate
{
	printf("%-12s %-4s %-6s %-16s %5d %-16s %5d %s\n",
	    opte_port[(opte_port_t *)arg0],
	    opte_dir[arg1],
	    opte_proto[((opte_key_t *)arg2)->proto],
	    opte_addr[((opte_key_t *)arg2)->local, ((opte_key_t *)arg2)->family],
	    ((opte_key_t *)arg2)->local_port,
	    opte_addr[((opte_key_t *)arg2)->remote, ((opte_key_t *)arg2)->family],
	    ((opte_key_t *)arg2)->remote_port,
	    opte_stale[arg3]);
	line++;
}

PROV::uft-tcp-closed
{
	printf("%-12s %-4s %-6s %-16s %5d %-16s %5d %s\n",
	    opte_port[(opte_port_t *)arg0],
	    opte_dir[arg1],
	    opte_proto[((opte_key_t *)arg2)->proto],
	    opte_addr[((opte_key_t *)arg2)->local, ((opte_key_t *)arg2)->family],
	    ((opte_key_t *)arg2)->local_port,
	    opte_addr[((opte_key_t *)arg2)->remote, ((opte_key_t *)arg2)->family],
	    ((opte_key_t *)arg2)->remote_port,
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
