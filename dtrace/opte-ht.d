/*
 * What becomes of flows' addresses?
 *
 * Usage:   opte-trace opte-ht
 * Columns: BEFORE, AFTER: the guest's end inside and outside.
 * Sample:  dtrace/README
 */
#pragma D option quiet

#define HEAD printf("%-12s %-4s %-6s %-22s %-22s %s\n", "PORT", "DIR", "PROTO", "BEFORE", "AFTER", "REMOTE")

dtrace:::BEGIN
{
	HEAD;
	line = 0;
}

PROV::ht-run
{
	printf("%-12s %-4s %-6s %-22s %-22s %s\n",
	    opte_port[(opte_port_t *)arg0],
	    opte_dir[arg1],
	    opte_proto[((opte_key_t *)arg2)->proto],
	    opte_local[(opte_key_t *)arg2],
	    opte_local[(opte_key_t *)arg3],
	    opte_remote[(opte_key_t *)arg3]);
	line++;
}

PROV::ht-run
/line >= 20/
{
	HEAD;
	line = 0;
}
