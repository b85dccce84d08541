/*
 * What becomes of flows' addresses?
 *
 * Usage:   opte-trace opte-ht
 * Columns: BEFORE, AFTER: the guest's end inside and outside.
 * Sample:  dtrace/README
 */
#pragma D option quiet

#define HEAD printf("%-12s %-4s %-6s %-16s %5s %-16s %5s %-16s %5s\n", "PORT", "DIR", "PROTO", "BEFORE", "PORT", "AFTER", "PORT", "REMOTE", "PORT")

dtrace:::BEGIN
{
	HEAD;
	line = 0;
}

PROV::ht-run
{
	printf("%-12s %-4s %-6s %-16s %5d %-16s %5d %-16s %5d\n",
	    opte_port[(opte_port_t *)arg0],
	    opte_dir[arg1],
	    opte_proto[((opte_key_t *)arg2)->proto],
	    opte_addr[((opte_key_t *)arg2)->local, ((opte_key_t *)arg2)->family],
	    ((opte_key_t *)arg2)->local_port,
	    opte_addr[((opte_key_t *)arg3)->local, ((opte_key_t *)arg3)->family],
	    ((opte_key_t *)arg3)->local_port,
	    opte_addr[((opte_key_t *)arg3)->remote, ((opte_key_t *)arg3)->family],
	    ((opte_key_t *)arg3)->remote_port);
	line++;
}

PROV::ht-run
/line >= 20/
{
	HEAD;
	line = 0;
}
